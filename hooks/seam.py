"""What all seams share: check the shape, wrap once, call through, undo.

A seam is one place of ComfyUI that we wrap.  It says what it needs there (``problem``) and how it wraps it
(``wrap_all``); putting on, taking off and telling about it is the same for all and lives here.  Others wrap the
same functions: a wrapper that somebody wrapped again cannot be taken out, so it only calls through from then on.

Originals are kept in closures, never as a module's attribute: sweeps over ``sys.modules`` (ours and other
extensions') rebind every module attribute that is the original, which would make a saved one call itself.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage.errors import ModelStreamError
from ..storage.events import EventBus, SeamChanged

MARK = "__modelstream_seam__"
"""attribute of every wrapper; its value is the seam's name"""

LOG = logging.getLogger("modelstream")

Wrapped = Callable[..., Any]
Replacement = Callable[..., Any]
"""called with the original first, then with whatever the caller gave"""


@dataclass(frozen=True, slots=True)
class SeamState:
    """state: "on", "off" or "unfit"; reason: why it is not on, or the last trouble it had"""

    name: str
    state: str
    reason: str = ""


class Seam:
    """Base of the seams.  Put on and taken off in the main thread; its wrappers run in any thread."""

    name = ""

    def __init__(self) -> None:
        self.trouble = ""
        self._undo: list[Callable[[], None]] = []
        self._told: set[str] = set()

    def problem(self) -> str:
        """Why ComfyUI does not have the shape that this seam needs; empty when it has."""
        raise NotImplementedError

    def wrap_all(self) -> None:
        """Puts the wrappers on, with ``wrap`` and ``undo_with``."""
        raise NotImplementedError

    def take_off(self) -> None:
        while self._undo:
            self._undo.pop()()

    def undo_with(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def wrap(self, owner: Any, attribute: str, replacement: Replacement) -> tuple[Wrapped, Wrapped]:
        """Replaces a function of a module or class; returns (original, wrapper).

        The wrapper has the original's name, text and signature.
        """
        original: Wrapped = getattr(owner, attribute)
        active = True

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not active:
                return original(*args, **kwargs)
            return replacement(original, *args, **kwargs)

        def undo() -> None:
            nonlocal active
            active = False
            if getattr(owner, attribute) is wrapper:
                setattr(owner, attribute, original)

        setattr(wrapper, MARK, self.name)
        setattr(owner, attribute, wrapper)
        self.undo_with(undo)
        return original, wrapper

    def ours_failed(self, error: Exception) -> None:
        """Something of ours broke where ComfyUI must go on: kept for the status, logged once a place.

        An error that was raised on purpose is not for here.
        """
        assert not isinstance(error, ModelStreamError)
        self.trouble = place_of(error)
        if self.trouble not in self._told:
            self._told.add(self.trouble)
            LOG.error("[modelstream] seam %s: %s; ComfyUI's own way was taken instead", self.name, self.trouble)


class Seams:
    """The seams of one process.  ``states`` may be called from any thread."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._on: list[Seam] = []
        self._states: dict[str, SeamState] = {}

    def put_on(self, *seams: Seam) -> None:
        """Each seam that fits; one that does not is noted and leaves ComfyUI as it is.  Never raises."""
        for seam in seams:
            if self.is_on(seam.name):
                continue
            reason = _put_on(seam)
            if not reason:
                self._on.append(seam)
            self._tell(SeamState(seam.name, "unfit" if reason else "on", reason))

    def take_off(self) -> None:
        """All of them, last put on first."""
        while self._on:
            seam = self._on.pop()
            seam.take_off()
            self._tell(SeamState(seam.name, "off"))

    def is_on(self, name: str) -> bool:
        state = self._states.get(name)
        return state is not None and state.state == "on"

    def states(self) -> tuple[SeamState, ...]:
        with self._lock:
            states = dict(self._states)
        trouble = {seam.name: seam.trouble for seam in tuple(self._on)}
        return tuple(SeamState(s.name, s.state, s.reason or trouble.get(s.name, "")) for s in states.values())

    def _tell(self, state: SeamState) -> None:
        with self._lock:
            self._states[state.name] = state
        if state.state == "unfit":
            LOG.warning("[modelstream] this ComfyUI is not as expected, %s stays off: %s", state.name, state.reason)
        self._bus.emit(SeamChanged(state.name, state.state, state.reason))


def place_of(error: Exception) -> str:
    """Type, function and line of an unforeseen error: its text may hold a path or a secret, this does not."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}:{frames[-1].lineno}" if frames else type(error).__name__


def _put_on(seam: Seam) -> str:
    """Empty, or why not."""
    try:
        reason = seam.problem()
        if not reason:
            seam.wrap_all()
    except Exception as error:
        seam.take_off()
        return place_of(error)
    return reason


def shape_problem(function: object, *names: str, also_optional: tuple[str, ...] = ()) -> str:
    """Why ``function`` cannot be called with ``names`` as its first parameters; empty when it can.

    Whatever more it takes must have defaults.  ``*args`` stands for any name: another extension's wrapper.
    also_optional: names that must be there, by keyword, wherever they stand.
    """
    if not callable(function):
        return "it is not there"
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "its signature cannot be read"
    kinds = {p.kind for p in parameters}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first = tuple(p.name for p in positional[: len(names)])
    if first != names[: len(first)] or (len(first) < len(names) and inspect.Parameter.VAR_POSITIONAL not in kinds):
        return f"it takes ({', '.join(p.name for p in parameters)}), expected ({', '.join(names)}, …)"
    rest = [p for p in parameters if p.kind is p.KEYWORD_ONLY] + positional[len(names) :]
    needed = [p.name for p in rest if p.default is p.empty]
    if needed:
        return f"it also needs {', '.join(needed)}"
    missing = [n for n in also_optional if n not in {p.name for p in parameters}]
    if missing and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"it no longer takes {', '.join(missing)}"
    return ""
