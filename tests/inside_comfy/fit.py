"""What the estimate says against what ComfyUI really takes, for its architectures at reduced depth, on a CPU."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management as management
import comfy.sd
import pytest
import torch

from modelstream.cache.fit import Component, Estimate, Work, judge
from modelstream.cache.headers_of_files import read_header
from modelstream.cache.planned_header import planned_header
from modelstream.cache.precision import plan, recipe_for
from modelstream.cache.recipe import FORMS
from modelstream.cache.state_file import StateFile
from modelstream.hooks.fit import Estimator, estimate
from modelstream.hooks.fit_build import NotKnown, build
from modelstream.hooks.fit_kept import KeptEstimates, made_with
from modelstream.hooks.fit_room import Rooms
from modelstream.hooks.fit_shapes import PICTURE, Size, inputs_of
from modelstream.hooks.fit_trace import step, trace_step
from modelstream.storage.safetensors_header import SafetensorsHeader, TensorInfo
from rig.architectures import ARCHITECTURES, Architecture, shapes

CPU = torch.device("cpu")
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.float8_e4m3fn: "F8_E4M3"}
QUICK = ("SD15", "SDXL", "SD3", "Flux", "Chroma", "WAN21_T2V", "HunyuanVideo", "LTXV", "QwenImage", "PixArtSigma")
"""about half a minute; MODELSTREAM_FIT_ALL=1 measures all that fit into 4 GB, which takes a few"""
TOO_LARGE = ("Flux2", "CosmosT2IPredict2")
"""their width alone makes 8 GB"""
ALL = tuple(one.name for one in ARCHITECTURES if one.name not in TOO_LARGE)
MEASURED = ALL if os.environ.get("MODELSTREAM_FIT_ALL") else QUICK
BY_NAME = {one.name: one for one in ARCHITECTURES}


def header_of(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> SafetensorsHeader:
    found, at = {}, 8
    for name in sorted(tensors):
        size = tensors[name].numel() * tensors[name].element_size()
        found[name] = TensorInfo(DTYPES[tensors[name].dtype], tuple(tensors[name].shape), at, at + size)
        at += size
    return SafetensorsHeader(found, metadata, 8)


def measured_peak(work: Any) -> int:
    """By the allocator's own account: torch's profiler notes every allocation of memory, those within kernels too."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    live = peak = 0
    for event in profile.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_the_architecture_is_the_one_that_comfyui_will_find(architecture: Architecture) -> None:
    built = build(header_of(shapes(architecture)), "diffusion_models")
    assert type(built.config).__name__ == architecture.name


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_is_what_is_really_taken(name: str) -> None:
    architecture = BY_NAME[name]
    without_memory = shapes(architecture)
    built = build(header_of(without_memory), "diffusion_models")
    estimated = built.model.model_size()
    traced = trace_step(built.model.model, architecture.latent, CPU)
    assert traced is not None

    weights = {key: torch.zeros(one.shape, dtype=one.dtype) for key, one in without_memory.items()}
    model = comfy.sd.load_diffusion_model_state_dict(weights)
    assert model.model_size() == estimated
    given = inputs_of(model.model.model_config)

    def run() -> None:
        with torch.inference_mode():
            step(model.model, architecture.latent, given, CPU)

    measured = measured_peak(run)
    print(f"{name}: weights {estimated / 1e6:.1f} MB, working {traced / 1e6:.1f} MB, measured {measured / 1e6:.1f} MB")
    assert estimated + traced == pytest.approx(estimated + measured, rel=0.1)


# -- what must not fool it -------------------------------------------------------------------------------------------------------
def estimated(header: SafetensorsHeader, folder: str = "diffusion_models", size: Size = PICTURE) -> Any:
    size_bytes = sum(one.end - one.start for one in header.tensors.values())
    return estimate("some object", size_bytes, folder, lambda: header, size)


def renamed(tensors: dict[str, torch.Tensor], change: Any) -> SafetensorsHeader:
    return header_of({name: made for name, one in tensors.items() if (made := change(name, one)) is not None})


def test_a_header_whose_shapes_are_not_those_of_its_names_is_bytes_only() -> None:
    def wider(name: str, one: torch.Tensor) -> torch.Tensor:
        return torch.empty((one.shape[0] * 2, *one.shape[1:]), device="meta") if name.endswith("ffn.2.weight") else one

    found = estimated(renamed(shapes(BY_NAME["WAN21_T2V"]), wider))
    assert found.architecture == "" and "shapes are not those" in found.problem
    assert found.components[0].stored_bytes == found.size_bytes and found.peak_bytes is None
    assert judge(found, {}).kind == "unknown"


def test_a_header_that_names_an_architecture_and_holds_little_of_it_is_bytes_only() -> None:
    def little(name: str, one: torch.Tensor) -> torch.Tensor | None:
        return one if name in ("head.modulation", "head.head.weight", "patch_embedding.weight", "blocks.0.ffn.0.weight") else None

    found = estimated(renamed(shapes(BY_NAME["WAN21_T2V"]), little))
    assert found.architecture == "" and "less than half of its weights" in found.problem


def test_a_header_that_claims_a_million_wide_layer_takes_no_memory_and_is_refused() -> None:
    """One long bias would make ComfyUI build matrices of terabytes."""

    def long(name: str, one: torch.Tensor) -> torch.Tensor:
        return torch.empty((1, 2, 1 << 20), device="meta") if name == "head.modulation" else one

    found = estimated(renamed(shapes(BY_NAME["WAN21_T2V"]), long))
    assert found.architecture == "" and found.problem


@pytest.mark.parametrize("names", [{"a": (2, 3)}, {"input_blocks.0.0.weight": (3,)}, {"img_in.weight": (0,)}])
def test_what_no_architecture_has_is_bytes_only(names: dict[str, tuple[int, ...]]) -> None:
    found = estimated(header_of({name: torch.empty(shape, device="meta") for name, shape in names.items()}))
    assert found.architecture == "" and found.problem
    assert estimated(header_of({"a": torch.empty(3, device="meta")}), "loras").problem


def test_more_tensors_than_any_model_has_are_not_looked_into() -> None:
    with pytest.raises(NotKnown, match="more than any model"):
        build(header_of({f"blocks.{n}.a": torch.empty(1, device="meta") for n in range(20_001)}), "diffusion_models")


def test_nothing_of_the_process_changes() -> None:
    """Neither ComfyUI's functions, nor its loaded models, nor what others log meanwhile."""
    before = dict(vars(comfy.sd))
    filters = list(logging.getLogger().filters)
    build(header_of(shapes(BY_NAME["SD15"])), "diffusion_models")
    assert {name: value for name, value in vars(comfy.sd).items() if before.get(name) is not value} == {}
    assert logging.getLogger().filters == filters and management.current_loaded_models == []


# -- whole checkpoints, in other precisions --------------------------------------------------------------------------------------
def test_a_checkpoint_has_its_components_and_is_loaded_with_exactly_these_bytes() -> None:
    path = os.environ["TINY_CHECKPOINT"]
    header = read_header(path)
    found = estimated(header, "checkpoints", Size(256, 256))
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(path)
    sizes = {one.kind: one.loaded_bytes for one in found.components}
    assert sizes["diffusion_model"] == model.model_size() and sizes["vae"] == vae.model_size()
    assert sizes["text_encoder"] == clip.patcher.model_size()
    assert sum(one.stored_bytes for one in found.components) == sum(t.end - t.start for t in header.tensors.values())
    assert found.architecture == "SD3" and found.latent == (1, 16, 32, 32)
    working = found.work_of("vae")

    def run() -> None:
        with torch.inference_mode():
            vae.process_output(vae.first_stage_model.decode(torch.zeros(found.latent)).float())

    assert measured_peak(run) + vae.model_size() == pytest.approx(working.traced_bytes + vae.model_size(), rel=0.1)
    assert working.asked_bytes == vae.memory_used_decode(found.latent, vae.vae_dtype)


def in_dtype(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.empty(one.shape, dtype=dtype if one.ndim == 2 else one.dtype, device="meta") for name, one in tensors.items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_bytes_are_those_of_the_dtype_that_comfyui_chooses_here_not_of_the_file(dtype: torch.dtype) -> None:
    stored = in_dtype(shapes(BY_NAME["WAN21_T2V"]), dtype)
    found = estimated(header_of(stored))
    real = comfy.sd.load_diffusion_model_state_dict({name: torch.zeros(one.shape, dtype=one.dtype) for name, one in stored.items()})
    assert found.loaded_bytes == real.model_size()
    assert found.components[0].stored_bytes < found.loaded_bytes  # a CPU works in fp32


def test_scaled_fp8_is_estimated_as_it_is_loaded() -> None:
    stored = in_dtype(shapes(BY_NAME["WAN21_T2V"]), torch.float8_e4m3fn)
    scales = {name.replace(".weight", ".scale_weight"): torch.empty((), device="meta") for name, one in stored.items() if one.ndim == 2}
    stored = {**stored, **scales, "scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn, device="meta")}
    found = estimated(header_of(stored))
    real = comfy.sd.load_diffusion_model_state_dict({name: torch.ones(one.shape).to(one.dtype) for name, one in stored.items()})
    assert found.architecture == "WAN21_T2V" and found.loaded_bytes == real.model_size()


@pytest.mark.parametrize("form", ["fp8", "int8"])
def test_what_is_converted_on_the_way_in_is_estimated_as_it_will_be_loaded(form: str) -> None:
    algorithms = getattr(sys.modules.get("comfy.quant_ops"), "QUANT_ALGOS", {})
    if FORMS[form].algorithm not in algorithms:
        pytest.skip(f"this ComfyUI has no layer for {form}")
    header = header_of(in_dtype(shapes(BY_NAME["WAN21_T2V"]), torch.float16))
    converted = planned_header(header, plan(header, recipe_for(form)))
    assert converted is not None
    found = estimated(converted)
    stored = {}
    for name, info in converted.tensors.items():
        dtype = {"F8_E4M3": torch.float8_e4m3fn, "I8": torch.int8, "F16": torch.float16, "F32": torch.float32}[info.dtype]
        stored[name] = torch.ones(info.shape).to(dtype)
    real = comfy.sd.load_diffusion_model_state_dict(stored, metadata=dict(converted.metadata or {}))
    assert found.architecture == "WAN21_T2V" and found.loaded_bytes == real.model_size()
    assert found.loaded_bytes < estimated(header).loaded_bytes


# -- over a restart --------------------------------------------------------------------------------------------------------------
class Once:
    """A cache whose headers may be asked for so many times."""

    def __init__(self, header: SafetensorsHeader) -> None:
        self.asked, self._header = 0, header

    def header(self, obj: Any) -> SafetensorsHeader:
        self.asked += 1
        return self._header


def test_an_estimate_is_made_once_and_kept_over_a_restart_of_the_same_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Once(header_of(shapes(BY_NAME["WAN21_T2V"])))
    runtime: Any = SimpleNamespace(cache=cache, config=SimpleNamespace(precision=()))
    obj: Any = SimpleNamespace(id=SimpleNamespace(digest="d" * 64), subject="far:diffusion_models/wan.safetensors", size_bytes=1)
    file = StateFile(tmp_path / "fit.json")
    asked = (obj, "diffusion_models", Size(256, 256, 5), "wan.safetensors")
    first = Estimator(runtime, Rooms(None, None), file).of_object(*asked)
    again = Estimator(runtime, Rooms(None, None), file)
    assert again.known(obj, "diffusion_models", "wan.safetensors", Size(256, 256, 5)) == first.estimate
    assert again.of_object(*asked).estimate == first.estimate and cache.asked == 1
    monkeypatch.setattr(torch, "__version__", "another")
    assert Estimator(runtime, Rooms(None, None), file).of_object(*asked).estimate == first.estimate and cache.asked == 2


@pytest.mark.parametrize(
    "content", [3, {}, {"made_with": "x"}, {"made_with": None, "estimates": 1}, {"made_with": None, "estimates": [[1, 2]]}]
)
def test_a_kept_file_of_another_form_is_none(tmp_path: Path, content: Any) -> None:
    if isinstance(content, dict) and "made_with" in content:
        content["made_with"] = made_with()
    file = StateFile(tmp_path / "fit.json")
    file.write(content)
    assert KeptEstimates(file).read() == {}


# -- the machine ------------------------------------------------------------------------------------------------------------------
def test_memory_that_goes_between_estimate_and_load_changes_the_verdict_and_not_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 8 << 30}
    monkeypatch.setattr(management, "get_free_memory", lambda device=None, torch_free_too=False: free["bytes"])
    monkeypatch.setattr(management, "get_total_memory", lambda device=None, torch_total_too=False: 8 << 30)
    monkeypatch.setattr(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0, raising=False)
    estimator = Estimator(SimpleNamespace(), Rooms(None, None))  # type: ignore[arg-type]
    monkeypatch.setattr(estimator.rooms, "rate_to", lambda device: 1e9)
    part = Component("diffusion_model", "x", {}, {"float16": 5 << 30}, "cuda:0")
    found = Estimate("a", 5 << 30, "SDXL", (part,), (Work("diffusion_model", 1 << 30, 1 << 29),))
    assert estimator.judged(found).verdict.kind == "whole"
    free["bytes"] = 4 << 30
    verdict = estimator.judged(found).verdict
    assert verdict.kind == "offload" and verdict.step_seconds and verdict.offload_bytes > 2 << 30
    free["bytes"] = 1 << 28
    assert estimator.judged(found).verdict.kind == "no"
