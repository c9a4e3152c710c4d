"""What ComfyUI makes of converted files: its stock loaders read them, and its models' outputs say what the conversion costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import pytest
import torch
from comfy.quant_ops import QuantizedTensor, TensorCoreFP8Layout
from safetensors.torch import save

from modelstream.cache.converter import ConversionReport, Converter, ImageFull, room_bytes
from modelstream.cache.precision import converted_bytes, plan, recipe_for
from modelstream.cache.quantize import Converted, convert
from modelstream.cache.recipe import FORMS, Form
from modelstream.hooks.fit_shapes import inputs_of
from modelstream.hooks.precision import missing_for, offered
from modelstream.storage.errors import InvalidSafetensors
from modelstream.storage.safetensors_header import SafetensorsHeader, TensorInfo, header_bytes, parse_header
from rig.architectures import ARCHITECTURES, shapes
from rig.precision_models import structured

RUN = ("SD15", "SD3", "WAN21_T2V")
IN_THE_TABLE = ("SD15", "SDXL", "SD3", "Flux", "WAN21_T2V", "WAN22_T2V", "WAN21_I2V", "LTXV", "QwenImage")
BY_NAME = {one.name: one for one in ARCHITECTURES}
INPUTS = 20
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def weights(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Trained-looking fp16 weights in the shapes of ComfyUI's own class."""
    made = {}
    for number, (key, meta) in enumerate(sorted(shapes(BY_NAME[name]).items())):
        if meta.dim() == 2 and min(meta.shape) >= 64:
            made[prefix + key] = structured(*meta.shape, seed=number)
        elif meta.dim() <= 1:
            made[prefix + key] = (torch.ones if key.endswith(("weight", "scale")) else torch.zeros)(meta.shape).half()
        else:
            made[prefix + key] = (torch.randn(meta.shape, generator=torch.Generator().manual_seed(number)) * 0.03).half()
    return made


def converted(raw: bytes, form: str) -> tuple[bytes, ConversionReport]:
    header = parse_header(raw[: header_bytes(raw[:8], len(raw))], len(raw))
    planned = plan(header, recipe_for(form))
    room = room_bytes(planned, header)
    while True:
        image = bytearray(room)
        converter = Converter(planned, header, memoryview(image))
        try:
            for name, info in sorted(header.tensors.items(), key=lambda item: item[1].start):
                converter.add(name, memoryview(bytearray(raw[info.start : info.end])))
        except ImageFull as full:
            room = full.needed_bytes
            continue
        size_bytes, report = converter.finish()
        return bytes(image[:size_bytes]), report


def outputs(patcher: Any, name: str, count: int = INPUTS) -> torch.Tensor:
    """Of fixed inputs, one batch of them, as ComfyUI's sampler calls the model."""
    model = patcher.model
    made = torch.Generator().manual_seed(7)
    latent = (count, *BY_NAME[name].latent[1:])
    given = inputs_of(model.model_config)
    assert given is not None
    noise = torch.randn(latent, generator=made)
    text = torch.randn((count, min(given.tokens, 77), given.text_width), generator=made)
    pooled = torch.randn((count, given.pooled_width), generator=made) if given.pooled_width else None
    said = {"noise": noise, "device": "cpu", "cross_attn": text, "pooled_output": pooled, "seed": 0, "prompt_type": "positive"}
    if given.masked:
        said["attention_mask"] = torch.ones((count, text.shape[1]), dtype=torch.long)
    pixels = {"width": latent[-1] * given.pixels, "height": latent[-2] * given.pixels}
    conditions = model.extra_conds(**said, **pixels)
    ready = {key: one.process_cond(batch_size=count, device="cpu", area=None).cond for key, one in conditions.items()}
    with torch.no_grad():
        return model.apply_model(noise, torch.ones(count), **ready, transformer_options={"cond_or_uncond": [0] * count}).float()


def distance(some: torch.Tensor, right: torch.Tensor) -> float:
    """RMS of the difference over the RMS of what is right."""
    return float((some - right).double().pow(2).mean().sqrt() / right.double().pow(2).mean().sqrt())


@pytest.mark.parametrize("name", RUN)
def test_the_stock_loader_runs_it_and_it_is_nearer_to_fp32_than_comfyuis_own_cast(name: str, tmp_path: Path) -> None:
    raw = save(weights(name), metadata={"format": "pt"})
    image, report = converted(raw, "fp8")
    path = tmp_path / "converted.safetensors"
    path.write_bytes(image)
    (tmp_path / "plain.safetensors").write_bytes(raw)

    def loaded(file: str, **options: Any) -> Any:
        return comfy.sd.load_diffusion_model(str(tmp_path / file), model_options=options)

    right = outputs(loaded("plain.safetensors", dtype=torch.float32), name)
    ours = loaded("converted.safetensors")
    layers = [m for m in ours.model.diffusion_model.modules() if isinstance(getattr(m, "weight", None), QuantizedTensor)]
    assert len(layers) == len(report.errors) > 0
    scaled = distance(outputs(ours, name), right)
    cast = distance(outputs(loaded("plain.safetensors", dtype=torch.float8_e4m3fn), name), right)
    print(f"{name}: scaled fp8 {scaled:.5f}, plain cast {cast:.5f}, worst layer {report.worst}, {len(image) / len(raw):.3f} of the bytes")
    assert scaled < cast


def test_whole_checkpoints_are_converted_only_where_the_stock_loader_can_run_them(tmp_path: Path) -> None:
    """Layer names below a prefix are found by every ComfyUI; 0.3.75 then has no dtype to compute in."""
    image, report = converted(save(weights("SD15", "model.diffusion_model."), metadata={"format": "pt"}), "fp8")
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(image)
    patcher = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]
    layers = [m for m in patcher.model.diffusion_model.modules() if isinstance(getattr(m, "weight", None), QuantizedTensor)]
    assert len(layers) == len(report.errors) > 0
    if offered("checkpoints"):
        assert outputs(patcher, "SD15", 1).isfinite().all()
    else:
        assert "whole checkpoints" in missing_for(FORMS["fp8"], "checkpoints")
        with pytest.raises(NotImplementedError):
            outputs(patcher, "SD15", 1)


def test_fewer_bits_cost_more_and_the_report_says_how_much(tmp_path: Path) -> None:
    """Forms that this ComfyUI has no layers for are compared by their values, as fp32 weights."""
    name = "WAN21_T2V"
    plain = weights(name)
    header = header_of(plain)
    path = tmp_path / "model.safetensors"

    def output_of(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        path.write_bytes(save(tensors))
        return outputs(comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32}), name)

    right = output_of(plain)
    found = {}
    for form in FORMS.values():
        changed, errors = dict(plain), []
        for layer in plan(header, recipe_for(form.name)).layers:
            changed[layer], error = back_from(plain[layer], form)
            errors.append(error)
        found[form.name] = distance(output_of(changed), right)
        print(f"{name}, {form.name}: output {found[form.name]:.4f}, worst layer {max(errors):.4f}")
    assert found["nvfp4"] > max(found["fp8"], found["int8"], found["mxfp8"]) > 0


def back_from(weight: torch.Tensor, form: Form) -> tuple[torch.Tensor, float]:
    """A weight as the form's layer will see it, and its error."""
    info = TensorInfo("F16", tuple(weight.shape), 0, weight.numel() * 2)
    raw = memoryview(weight.reshape(-1).view(torch.uint8).numpy()).cast("B")
    into = torch.empty(converted_bytes(form, info), dtype=torch.uint8)
    made = convert(raw, info, replace(form, error_max=1.0), memoryview(into.numpy()))
    assert isinstance(made, Converted)
    written = into[: made.weight_bytes]
    scales = [torch.frombuffer(bytearray(part.raw), dtype=torch.uint8) for part in made.parts]
    if not form.needs:
        values = written.view(torch.float8_e4m3fn if form.name == "fp8" else torch.int8).float()
        return (values * scales[0].view(torch.float32)).view(weight.shape), made.error
    kitchen = pytest.importorskip("comfy_kitchen")
    blocks = scales[0].view(made.parts[0].shape)
    if form.name == "nvfp4":
        scale, packed = scales[1].view(torch.float32)[0], written.view(made.weight_shape)
        return kitchen.dequantize_nvfp4(packed, scale, blocks.view(torch.float8_e4m3fn), torch.float32), made.error
    values = written.view(made.weight_shape).view(torch.float8_e4m3fn)
    return kitchen.dequantize_mxfp8(values, blocks.view(torch.float8_e8m0fnu), torch.float32), made.error


@pytest.mark.parametrize("name", IN_THE_TABLE)
def test_the_table_knows_the_architecture_and_leaves_its_ends_alone(name: str) -> None:
    header = header_of(shapes(BY_NAME[name]))
    planned = plan(header, recipe_for("fp8"))
    assert planned.layers
    ends = ("img_in", "txt_in", "final_layer", "x_embedder", "patch_embedding", "head.", "proj_out", "time_", "norm", "adaLN", "_mod.")
    outside = [layer for layer in planned.layers if layer.startswith(ends) or "adaLN" in layer or "_mod." in layer]
    assert not outside


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(IN_THE_TABLE)))
def test_another_architecture_is_refused_or_planned_never_half_known(name: str) -> None:
    try:
        planned = plan(header_of(shapes(BY_NAME[name])), recipe_for("fp8"))
    except InvalidSafetensors:
        return
    assert all("norm" not in layer for layer in planned.layers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spread", [0.02, 1.0, 30.0])
def test_every_byte_is_what_comfyuis_own_conversion_gives(dtype: torch.dtype, spread: float) -> None:
    weight = (structured(256, 512, seed=3).float() * spread).to(dtype)
    raw = memoryview(weight.reshape(-1).view(torch.uint8).numpy()).cast("B")
    into = memoryview(bytearray(weight.numel()))
    made = convert(raw, TensorInfo(NAMES[dtype], tuple(weight.shape), 0, len(raw)), FORMS["fp8"], into)
    assert isinstance(made, Converted)
    scale = torch.frombuffer(bytearray(made.parts[0].raw), dtype=torch.float32)[0]
    theirs, _ = TensorCoreFP8Layout.quantize(weight.clone(), scale=scale)
    assert bytes(into) == theirs.view(torch.uint8).numpy().tobytes()


def test_what_this_comfyui_has_no_layers_for_is_not_offered_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered() == ("fp8",)
    assert "no layer for int8_tensorwise" in missing_for(FORMS["int8"])
    monkeypatch.delattr("comfy.quant_ops.QUANT_ALGOS")
    assert offered() == () and "no quantised layers" in missing_for(FORMS["fp8"])


def test_a_lora_on_converted_weights_changes_the_output_and_leaves_the_file_alone(tmp_path: Path) -> None:
    image, report = converted(save(weights("SD15")), "fp8")
    path = tmp_path / "converted.safetensors"
    path.write_bytes(image)
    patcher = comfy.sd.load_diffusion_model(str(path))
    before = outputs(patcher, "SD15", 1)
    layer = next(iter(report.errors))
    key = f"diffusion_model.{layer}.weight"
    shape = next(m for n, m in patcher.model.diffusion_model.named_modules() if n == layer).weight.shape
    patched = patcher.clone()
    patched.add_patches({key: ("diff", (torch.full(tuple(shape), 0.05),))})
    patched.patch_model()
    changed = outputs(patched, "SD15", 1)
    patched.unpatch_model()
    after = outputs(patcher, "SD15", 1)
    assert not torch.equal(changed, before) and torch.equal(after, before)
    assert path.read_bytes() == image
    assert (
        json.loads(comfy.utils.load_torch_file(str(path), return_metadata=True)[1]["modelstream_conversion"])["architecture"] == "sd_unet"
    )


def header_of(tensors: dict[str, Any]) -> SafetensorsHeader:
    """As of an fp16 file."""
    found, at = {}, 64
    for key in sorted(tensors):
        size_bytes = tensors[key].numel() * 2
        found[key] = TensorInfo("F16", tuple(tensors[key].shape), at, at + size_bytes)
        at += size_bytes
    return SafetensorsHeader(found, None, 64)
