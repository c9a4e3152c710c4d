"""Weights taken over from the RAM tier without a copy, and that nothing ever writes into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import comfy.hooks
import comfy.ldm.models.autoencoder
import comfy.model_base
import comfy.model_management
import comfy.sample
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy import utils as comfy_utils
from comfy.cli_args import args
from comfy.sd import load_text_encoder_state_dicts as load_clip

from modelstream.hooks.assign import AssignSeam
from modelstream.hooks.shared_memory import SharedMemory
from rig.warm_parts import InArena, load_from, lora_of, same, weights

TINY, CLIP = Path(os.environ["TINY_CHECKPOINT"]), Path(os.environ["SMALL_CLIP"])


@pytest.fixture(autouse=True)
def _half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(args, "fp16_unet", True)


@pytest.fixture
def held() -> InArena:
    return InArena(TINY)


@pytest.fixture
def assign(comfy: Any) -> AssignSeam:
    seam = AssignSeam(SharedMemory())
    comfy.seams.put_on(seam)
    assert [s.state for s in comfy.seams.states()] == ["on"], comfy.seams.states()
    return seam


def image_of(model: Any, seed: int = 3) -> torch.Tensor:
    noise = torch.randn((1, 16, 8, 8), generator=torch.Generator().manual_seed(seed))
    positive = [[torch.zeros(1, 154, 4096), {"pooled_output": torch.zeros(1, 2048)}]]
    return comfy.sample.sample(
        model, noise, 2, 1.0, "euler", "normal", positive, positive, torch.zeros_like(noise), disable_pbar=True, seed=seed
    )


def aliased(patcher: Any, shared: SharedMemory) -> tuple[int, int]:
    """Bytes of parameters in the arena, and of all parameters."""
    params = list(patcher.model.parameters())
    return sum(p.nbytes for p in params if shared.holds(p)), sum(p.nbytes for p in params)


def test_every_weight_of_the_diffusion_model_is_taken_over_and_none_is_changed(held: InArena, assign: AssignSeam, comfy: Any) -> None:
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    assert aliased(model, assign.shared)[0] == aliased(model, assign.shared)[1] > 0
    comfy.seams.take_off()
    stock, *_ = load_from(held)
    assert aliased(stock, assign.shared)[0] == 0
    assert same(weights(model), weights(stock))
    assert held.checksum() == before


def test_a_text_encoder_is_taken_over_too(assign: AssignSeam) -> None:
    held = InArena(CLIP)
    before = held.checksum()
    assign.shared.add(held.buffer)
    clip = load_clip([held.tensors()])
    params = dict(clip.cond_stage_model.clip_l.transformer.named_parameters())
    expected = {name: tensor for name, tensor in held.tensors().items() if name in params}
    assert expected
    assert all(assign.shared.holds(params[name]) and torch.equal(params[name], tensor) for name, tensor in expected.items())
    assert held.checksum() == before


def test_the_vae_has_the_same_weights_and_dtype(held: InArena, assign: AssignSeam, comfy: Any) -> None:
    _, _, vae = load_from(held, assign.shared)
    comfy.seams.take_off()
    _, _, stock = load_from(held)
    assert vae.vae_dtype == stock.vae_dtype
    assert same(weights(vae.patcher), weights(stock.patcher))


class _Engine(comfy.ldm.models.autoencoder.AutoencodingEngine):
    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.layer = torch.nn.Linear(4, 4, bias=False)


def test_a_vae_takes_the_files_dtype_over_and_only_a_vae_does(held: InArena, assign: AssignSeam) -> None:
    """``VAE`` converts afterwards; whoever else makes such a module gets the dtype that it was made with."""
    assign.shared.add(held.buffer)
    value = next(t for t in held.tensors().values() if t.dtype == torch.float16 and t.numel() >= 16).flatten()[:16].view(4, 4)
    other, engine = _Engine(), _Engine()
    other.load_state_dict({"layer.weight": value}, strict=False)
    assert other.layer.weight.dtype == torch.float32

    def make(vae: Any) -> None:
        engine.load_state_dict({"layer.weight": value}, strict=False)

    assign._make_vae(make, None)
    assert assign.shared.holds(engine.to(torch.float16).layer.weight)
    assert torch.equal(engine.layer.weight, value)


def test_an_image_is_the_same_bit_for_bit(held: InArena, assign: AssignSeam, comfy: Any) -> None:
    model, *_ = load_from(held, assign.shared)
    found = image_of(model)
    comfy.seams.take_off()
    assert torch.equal(found, image_of(load_from(held)[0]))
    assert found.abs().sum() > 0


def test_another_dtype_is_copied_as_comfyui_does(held: InArena, assign: AssignSeam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(args, "fp16_unet", False)
    monkeypatch.setattr(args, "fp32_unet", True)
    model, *_ = load_from(held, assign.shared)
    assert aliased(model, assign.shared)[0] == 0
    assert {p.dtype for p in model.model.diffusion_model.parameters()} == {torch.float32}


def test_a_lora_on_off_and_on_never_writes_into_the_cache(held: InArena, assign: AssignSeam) -> None:
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    patched = model.clone()
    patched.add_patches(lora_of(model), 1.0)
    images = [image_of(one) for one in (patched, model, patched, model)]
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[1], images[3])
    assert not torch.equal(images[0], images[1])
    assert held.checksum() == before


def test_a_hook_lora_writes_into_copies_of_its_own(held: InArena, assign: AssignSeam) -> None:
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    original = weights(model)
    hooked = model.clone()
    hook = comfy.hooks.WeightHook(strength_model=1.0, strength_clip=1.0)
    group = comfy.hooks.HookGroup()
    group.add(hook)
    hook.weights = lora_of(model)
    comfy.model_management.load_models_gpu([hooked])
    hooked.add_hook_patches(hook=hook, patches=hook.weights, strength_patch=1.0)
    for _ in range(2):
        hooked.patch_hooks(group)
        assert not same(weights(model), original)
        assert held.checksum() == before
        hooked.unpatch_hooks()
        assert same(weights(model), original)
    hooked.patch_hooks(group)  # from the cached weights
    hooked.clean_hooks()
    assert same(weights(model), original)
    assert assign.figures.copies_on_write == 12
    assert held.checksum() == before


def test_weights_updated_in_place_are_copied_first(held: InArena, assign: AssignSeam) -> None:
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    original = weights(model)
    model.weight_inplace_update = True
    patched = model.clone()
    patched.add_patches(lora_of(model), 1.0)
    comfy.model_management.load_models_gpu([patched])
    assert not same(weights(model), original)
    assert held.checksum() == before
    patched.detach()
    assert same(weights(model), original)
    assert held.checksum() == before


def test_copy_to_param_leaves_the_cache_alone(held: InArena, assign: AssignSeam) -> None:
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    name, param = next(iter(model.model.named_parameters()))
    comfy.utils.copy_to_param(model.model, name, torch.full_like(param, 7.0))
    assert float(comfy.utils.get_attr(model.model, name).flatten()[0]) == 7.0
    assert held.checksum() == before


def test_without_the_wrapper_the_same_write_would_reach_the_cache(held: InArena, assign: AssignSeam, comfy: Any) -> None:
    """So that the test above proves something."""
    before = held.checksum()
    model, *_ = load_from(held, assign.shared)
    name, param = next(iter(model.model.named_parameters()))
    comfy.seams.take_off()
    comfy_utils.copy_to_param(model.model, name, torch.full_like(param, 7.0))
    assert held.checksum() != before


class _Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(4, 4, bias=False, dtype=torch.float16)
        self.b = self.a


class _SetsItself(torch.nn.Linear):
    def set_weight(self, weight: torch.Tensor, inplace_update: bool = False) -> None: ...


@pytest.mark.parametrize(
    "module",
    [_Tied(), torch.nn.Sequential(_SetsItself(4, 4, bias=False, dtype=torch.float16))],
    ids=["one parameter under two names", "weights set in place"],
)
def test_modules_that_cannot_share_get_copies(held: InArena, assign: AssignSeam, module: torch.nn.Module) -> None:
    assign.shared.add(held.buffer)
    value = next(t for t in held.tensors().values() if t.dtype == torch.float16 and t.numel() >= 16).flatten()[:16].view(4, 4)
    with assign._assigning([module]):
        module.load_state_dict(dict.fromkeys(module.state_dict(), value), strict=False)
    assert not any(assign.shared.holds(p) for p in module.parameters())
    assert all(torch.equal(p, value) for p in module.parameters())


def test_the_memory_is_forgotten_when_its_buffer_dies(held: InArena, assign: AssignSeam) -> None:
    assign.shared.add(held.buffer)
    tensor = next(t for t in held.tensors().values() if t.numel())
    address = tensor.data_ptr()
    assert assign.shared.holds(tensor)
    del tensor
    held.allocation = None  # type: ignore[assignment]
    assert not assign.shared.covers(address)
