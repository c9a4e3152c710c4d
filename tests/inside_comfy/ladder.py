"""What is done and told before a (fake) card is out of memory, and the smaller variants that an owner allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import comfy.model_management as management
import comfy.sd
import pytest
import torch
from comfy.cli_args import args

from modelstream.cache.precision import recipe_for
from modelstream.cache.recipe import Recipes
from modelstream.hooks.listing import ListingSeam
from modelstream.hooks.loading import LoadingSeam
from modelstream.hooks.resolving import ResolvingSeam
from modelstream.storage.events_fit import MemoryStep, VariantChosen
from rig.architectures import ARCHITECTURES, shapes
from rig.card_machine import KEYS, THE_CARD, Machine, empty_card, room_for
from rig.fake_device import OutOfMemory

comfy_sd = comfy.sd


@pytest.fixture(autouse=True)
def _empty_card() -> Iterator[None]:
    with empty_card():
        yield


@pytest.fixture
def machine(comfy: Any) -> Machine:
    return Machine(comfy)


# -- the ladder -----------------------------------------------------------------------------------------------------------------
def steps(machine: Machine) -> list[MemoryStep]:
    return [one for one in machine.events if isinstance(one, MemoryStep)]


def test_who_leaves_and_for_whom_is_told_with_figures(machine: Machine) -> None:
    room_for(machine, 1.5)
    machine.run(KEYS[0])
    machine.run(KEYS[1])
    (step,) = steps(machine)
    assert (step.step, step.device, step.subject) == ("leave", "cuda:0", f"far:{KEYS[1]}")
    assert 0 < step.won_bytes <= machine.model_bytes and step.needed_bytes > step.free_bytes
    assert f"far:{KEYS[0]}" in step.why


def test_what_comfyui_keeps_in_host_memory_is_told(machine: Machine) -> None:
    room_for(machine, 0.5)
    model = machine.run(KEYS[0])
    (step,) = steps(machine)
    assert (step.step, step.subject, step.needed_bytes) == ("partial", f"far:{KEYS[0]}", machine.model_bytes)
    assert step.won_bytes == machine.model_bytes - model.loaded_size() > 0


def test_the_error_says_what_is_missing_what_holds_it_and_what_would_help(machine: Machine) -> None:
    room_for(machine, 2.5)
    machine.run(KEYS[0])
    machine.pressure.ladder.helps = lambda label: [f"b-fp8.safetensors instead of {label}"]
    THE_CARD.full_after_bytes[:] = [1000, 1000, 1000]
    with pytest.raises(OutOfMemory) as told:
        machine.run(KEYS[1])
    text = str(told.value)
    assert text.startswith("CUDA out of memory\n") and f"far:{KEYS[1]} needs" in text and "are missing" in text
    assert f"What would help: b-fp8.safetensors instead of far:{KEYS[1]}" in text
    assert [one.step for one in steps(machine)][-1] == "failed" and steps(machine)[-1].why in text


def test_a_ladder_that_breaks_leaves_the_drivers_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.pressure.ladder, "failed", lambda models, error: 1 / 0)
    THE_CARD.full_after_bytes[:] = [1000, 1000, 1000]
    with pytest.raises(OutOfMemory, match=r"^CUDA out of memory$"):
        machine.run(KEYS[0])


def test_what_lies_on_a_device_is_told_by_component_and_dtype(machine: Machine) -> None:
    room_for(machine, 2.5)
    model = machine.run(KEYS[0])
    (seen,) = machine.pressure.looks.seen
    assert seen.device == "cuda:0" and seen.models_bytes == machine.model_bytes == model.loaded_size()
    assert set(seen.bytes) == {"diffusion_model"} and max(seen.bytes["diffusion_model"], key=seen.bytes["diffusion_model"].get) == "float16"
    assert (seen.offloaded_bytes, seen.saved_bytes, seen.largest_free_bytes) == (0, 0, None)
    model.model.to(torch.float8_e4m3fn)
    machine.pressure.between_prompts(nothing_runs=False)
    (seen,) = machine.pressure.looks.seen
    assert seen.saved_bytes > 0.4 * machine.model_bytes


def test_of_a_model_that_fits_in_part_the_rest_is_offloaded(machine: Machine) -> None:
    room_for(machine, 0.5)
    model = machine.run(KEYS[0])
    (seen,) = machine.pressure.looks.seen
    assert seen.models_bytes + seen.offloaded_bytes == machine.model_bytes and seen.offloaded_bytes > 0
    assert abs(seen.models_bytes - model.loaded_size()) < machine.model_bytes // 10


# -- a smaller variant ----------------------------------------------------------------------------------------------------------
VARIANTS = ("diffusion_models/wan.safetensors", "diffusion_models/wan-fp8.safetensors")


class Family:
    """A model in fp16 and fp8 in a bucket, whose headers are there; weights are zeros."""

    def __init__(self, comfy: Any, smaller: bool) -> None:
        from modelstream.hooks.fit import Estimator
        from modelstream.hooks.fit_room import Rooms
        from modelstream.hooks.smaller import SmallerSeam

        shapes_of = {one.name: one for one in ARCHITECTURES}["WAN21_T2V"]
        with THE_CARD.off():
            shapes_now = shapes(shapes_of)
        self.comfy, self.events = comfy, list[Any]()
        comfy.bus.subscribe(self.events.append)
        comfy.holds(*VARIANTS)
        headers = {}
        for key, dtype in zip(VARIANTS, (torch.float16, torch.float8_e4m3fn), strict=True):
            with THE_CARD.off():
                tensors = {n: torch.zeros(t.shape, dtype=dtype if t.ndim == 2 else torch.float16) for n, t in shapes_now.items()}
            comfy.cache.tensors[key] = tensors
            headers[key] = header_of(tensors)
        comfy.cache.header = lambda obj: headers[obj.id.key]
        comfy.runtime._estimator = Estimator(comfy.runtime, Rooms(None, None))
        comfy.seams.put_on(ListingSeam(comfy.runtime), ResolvingSeam(comfy.runtime), LoadingSeam(comfy.runtime))
        if smaller:
            comfy.seams.put_on(SmallerSeam(comfy.runtime))
        found = {key: comfy.runtime.estimator.by_name("diffusion_models", key.partition("/")[2]).estimate for key in VARIANTS}
        self.weights = {key: one.loaded_bytes for key, one in found.items()}
        self.least_bytes = found[VARIANTS[0]].work_of("diffusion_model").least_bytes

    def estimate(self, key: str) -> Any:
        return self.comfy.runtime.estimator.by_name("diffusion_models", key.partition("/")[2]).verdict

    def load(self, key: str) -> list[str]:
        """The objects that were asked for."""
        from modelstream.hooks.folders import view_of

        folder, _, name = key.partition("/")
        obj = self.comfy.runtime.catalog.find(view_of(folder), name)
        path = str(self.comfy.cache.path_for(obj))
        self.comfy.runtime.asked(path, folder, name)
        self.comfy.cache.asked.clear()
        comfy_sd.load_diffusion_model(path)
        return [key for _, key in self.comfy.cache.asked]


def header_of(tensors: dict[str, torch.Tensor]) -> Any:
    from modelstream.storage.safetensors_header import SafetensorsHeader, TensorInfo

    names = {torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3"}
    found, at = {}, 8
    for name in sorted(tensors):
        found[name] = TensorInfo(names[tensors[name].dtype], tuple(tensors[name].shape), at, at + tensors[name].nbytes)
        at += tensors[name].nbytes
    return SafetensorsHeader(found, None, 8)


@pytest.fixture
def no_offloading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "lowvram_available", False)
    monkeypatch.setattr(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0)
    monkeypatch.setattr(args, "fp16_unet", False)
    monkeypatch.setattr(management, "supports_fp8_compute", lambda device=None: True)


@pytest.mark.usefixtures("no_offloading")
def test_a_smaller_variant_is_loaded_only_where_the_owner_allowed_it(comfy: Any) -> None:
    found = Family(comfy, smaller=True)
    THE_CARD.total_bytes = 1 << 40
    assert found.load(VARIANTS[0]) == [VARIANTS[0]]  # it fits
    THE_CARD.total_bytes = found.least_bytes + (found.weights[VARIANTS[0]] + found.weights[VARIANTS[1]]) // 2
    assert (found.estimate(VARIANTS[0]).kind, found.estimate(VARIANTS[1]).kind) == ("no", "whole")
    assert found.load(VARIANTS[0]) == [VARIANTS[1]]
    told = [one for one in found.events if isinstance(one, MemoryStep | VariantChosen)]
    assert [type(one).__name__ for one in told] == ["VariantChosen", "MemoryStep"]
    assert (told[0].asked, told[0].chosen, told[0].rule) == ("wan.safetensors", "wan-fp8.safetensors", "smaller")
    assert told[1].step == "smaller" and told[1].won_bytes > 0 and "were missing" in told[1].why
    assert found.load(VARIANTS[1]) == [VARIANTS[1]]


@pytest.mark.usefixtures("no_offloading")
def test_without_the_owners_word_the_precision_is_never_changed(comfy: Any) -> None:
    found = Family(comfy, smaller=False)
    THE_CARD.total_bytes = 1 << 20
    assert found.estimate(VARIANTS[0]).kind == "no"
    assert found.load(VARIANTS[0]) == [VARIANTS[0]]
    assert not [one for one in found.events if isinstance(one, MemoryStep | VariantChosen)]


@pytest.mark.usefixtures("no_offloading")
def test_where_no_variant_fits_the_chosen_one_is_tried(comfy: Any) -> None:
    found = Family(comfy, smaller=True)
    THE_CARD.total_bytes = 1 << 20
    assert found.load(VARIANTS[0]) == [VARIANTS[0]]


@pytest.mark.usefixtures("no_offloading")
def test_where_no_smaller_variant_is_stored_one_is_made_on_the_way_in(comfy: Any) -> None:
    found = Family(comfy, smaller=True)
    comfy.holds(VARIANTS[0])
    made = "diffusion_models/wan@fp8.safetensors"
    comfy.cache.in_precision = lambda obj, form: Recipes().derive(obj, recipe_for(form))
    comfy.cache.tensors[made] = comfy.cache.tensors[VARIANTS[1]]
    THE_CARD.total_bytes = found.least_bytes + (found.weights[VARIANTS[0]] + found.weights[VARIANTS[1]]) // 2
    assert found.load(VARIANTS[0]) == [made]
    told = [one for one in found.events if isinstance(one, MemoryStep | VariantChosen)]
    assert (told[0].asked, told[0].chosen, told[0].form) == ("wan.safetensors", "wan.safetensors", "fp8")
    assert told[1].step == "smaller" and told[1].won_bytes > 0
