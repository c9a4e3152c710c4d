"""Wrapping and unwrapping, on functions of a module that stands in for ComfyUI's."""

from __future__ import annotations

import types
from typing import Any

import pytest

from modelstream.hooks.seam import MARK, Seam, Seams, shape_problem
from modelstream.storage.events import Event, EventBus, SeamChanged


def get(folder: str, name: str = "x") -> str:
    """the original's text"""
    return f"{folder}/{name}"


class Upper(Seam):
    name = "upper"

    def __init__(self, module: types.SimpleNamespace, parameters: tuple[str, ...] = ("folder",)) -> None:
        super().__init__()
        self.module, self.parameters = module, parameters

    def problem(self) -> str:
        return shape_problem(getattr(self.module, "get", None), *self.parameters)

    def wrap_all(self) -> None:
        self.wrap(self.module, "get", lambda original, *args, **kwargs: original(*args, **kwargs).upper())


@pytest.fixture
def module() -> types.SimpleNamespace:
    return types.SimpleNamespace(get=get)


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def seams(told: list[Event]) -> Seams:
    bus = EventBus()
    bus.subscribe(told.append)
    return Seams(bus)


def test_a_seam_that_fits_is_put_on_and_said_so(module: types.SimpleNamespace, seams: Seams, told: list[Event]) -> None:
    seams.put_on(Upper(module))
    assert module.get("a") == "A/X"
    assert told == [SeamChanged("upper", "on", "")]


def test_taking_off_gives_back_the_very_same_function(module: types.SimpleNamespace, seams: Seams) -> None:
    seams.put_on(Upper(module))
    seams.take_off()
    assert module.get is get
    assert [s.state for s in seams.states()] == ["off"]


def test_a_seam_is_put_on_once(module: types.SimpleNamespace, seams: Seams) -> None:
    seams.put_on(Upper(module))
    wrapper = module.get
    seams.put_on(Upper(module))
    assert module.get is wrapper


def test_the_wrapper_is_marked_and_looks_like_the_original(module: types.SimpleNamespace, seams: Seams) -> None:
    seams.put_on(Upper(module))
    assert getattr(module.get, MARK) == "upper"
    assert (module.get.__name__, module.get.__doc__) == ("get", "the original's text")
    assert shape_problem(module.get, "folder", "name") == ""


def test_a_shape_that_does_not_fit_leaves_comfyui_as_it_is(module: types.SimpleNamespace, seams: Seams, told: list[Event]) -> None:
    seams.put_on(Upper(module, ("folder_name",)))
    assert module.get is get
    assert [(s.state, "folder_name" in s.reason) for s in seams.states()] == [("unfit", True)]
    assert isinstance(told[0], SeamChanged)


def test_a_missing_function_is_a_shape_that_does_not_fit(seams: Seams) -> None:
    seams.put_on(Upper(types.SimpleNamespace()))
    assert [s.state for s in seams.states()] == ["unfit"]


def test_a_check_that_breaks_turns_the_seam_off_and_the_others_go_on(module: types.SimpleNamespace, seams: Seams) -> None:
    class Broken(Upper):
        name = "broken"

        def problem(self) -> str:
            raise KeyError("/a/path/that/nobody/shall/see")

    seams.put_on(Broken(module), Upper(module))
    states = {s.name: s for s in seams.states()}
    assert (states["broken"].state, states["upper"].state) == ("unfit", "on")
    assert "/a/path" not in states["broken"].reason


def test_a_seam_that_breaks_half_way_takes_off_what_it_put_on(module: types.SimpleNamespace, seams: Seams) -> None:
    class Half(Upper):
        def wrap_all(self) -> None:
            super().wrap_all()
            raise RuntimeError

    seams.put_on(Half(module))
    assert module.get is get
    assert [s.state for s in seams.states()] == ["unfit"]


def test_under_somebody_elses_wrapper_ours_only_passes_through_from_then_on(module: types.SimpleNamespace, seams: Seams) -> None:
    seams.put_on(Upper(module))
    ours = module.get

    def theirs(folder: str) -> str:
        return "their " + ours(folder)

    module.get = theirs
    seams.take_off()
    assert module.get is theirs
    assert module.get("a") == "their a/x"


def test_what_goes_wrong_inside_is_shown_with_the_seam(module: types.SimpleNamespace, seams: Seams) -> None:
    seam = Upper(module)
    seams.put_on(seam)
    try:
        raise ValueError("secret text")
    except ValueError as error:
        seam.ours_failed(error)
    (state,) = seams.states()
    assert state.reason.startswith("ValueError in ")
    assert "secret" not in state.reason


def any_names(*args: Any, **kwargs: Any) -> None: ...
def with_more(ckpt: str, safe_load: bool = False, *, more: int = 1) -> None: ...
def needs_more(ckpt: str, other: str) -> None: ...
def needs_keyword(ckpt: str, *, other: str) -> None: ...
def renamed(path: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "fits"),
    [(any_names, True), (with_more, True), (needs_more, False), (needs_keyword, False), (renamed, False), (None, False), (7, False)],
)
def test_a_function_fits_when_it_can_be_called_as_we_call_it(function: object, fits: bool) -> None:
    assert (shape_problem(function, "ckpt") == "") is fits
