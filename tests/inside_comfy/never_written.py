"""Nothing that ComfyUI does with a model writes into the RAM tier: its bytes are checksummed before and after everything.

Each case runs over two checkpoints and a LoRA that all lie in the arena, makes images or weights, and compares those with the
same over copies: right results from untouched bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.hooks
import comfy.model_management
import comfy.sample
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy.cli_args import args

from modelstream.hooks.assign import AssignSeam
from modelstream.hooks.host_copies import HostCopiesSeam
from modelstream.hooks.shared_memory import SharedMemory
from rig.warm_parts import InArena, load_from, lora_of, same, weights

TINY = Path(os.environ["TINY_CHECKPOINT"])
LORA = TINY.parents[1] / "loras" / "tiny.safetensors"
CPU = torch.device("cpu")
args.fp16_unet = True


class Held:
    """Two checkpoints and a LoRA in the arena, loaded; ``stock``: the same models in memory of their own."""

    def __init__(self, comfy: Any) -> None:
        self.files = [InArena(TINY), InArena(TINY), InArena(LORA)]
        others = self.files[1].header.tensors.items()
        other = next(t for name, t in others if "joint_blocks" in name and t.dtype == "F16" and t.end - t.start > 10_000)
        view = self.files[1].allocation.view
        view[other.start : other.end] = bytes(other.end - other.start)
        self.before = [file.checksum() for file in self.files]
        self.shared = SharedMemory()
        self.stock, *_ = load_from(self.files[0])
        self.stock_other, *_ = load_from(self.files[1])
        self.assign = AssignSeam(self.shared)
        comfy.seams.put_on(self.assign, HostCopiesSeam(self.shared))
        assert {s.state for s in comfy.seams.states()} == {"on"}, comfy.seams.states()
        self.model, self.clip, self.vae = load_from(self.files[0], self.shared)
        self.other, *_ = load_from(self.files[1], self.shared)
        self.shared.add(self.files[2].buffer)
        assert all(self.shared.holds(p) for one in (self.model, self.other) for p in one.model.parameters())

    def lora(self) -> dict[str, torch.Tensor]:
        found = self.files[2].tensors()
        assert all(self.shared.holds(t) for t in found.values() if t.numel())
        return found

    def untouched(self) -> bool:
        return [file.checksum() for file in self.files] == self.before


@pytest.fixture
def held(comfy: Any) -> Held:
    return Held(comfy)


def image_of(model: Any, seed: int = 3) -> torch.Tensor:
    noise = torch.randn((1, 16, 8, 8), generator=torch.Generator().manual_seed(seed))
    positive = [[torch.zeros(1, 154, 4096), {"pooled_output": torch.zeros(1, 2048)}]]
    return comfy.sample.sample(
        model, noise, 1, 1.0, "euler", "normal", positive, positive, torch.zeros_like(noise), disable_pbar=True, seed=seed
    )


def merged(name: str) -> Callable[[Any, Any], Any]:
    from comfy_extras import nodes_model_merging as merging

    made = getattr(merging, name)()
    more = {"ModelMergeSimple": (0.3,), "ModelSubtract": (0.5,), "ModelAdd": ()}[name]
    return lambda one, other: made.merge(one, other, *more)[0]


def with_lora(lora: dict[str, torch.Tensor]) -> Callable[[Any, Any], Any]:
    return lambda one, other: comfy.sd.load_lora_for_models(one, None, dict(lora), 0.8, 0.8)[0]


def with_patches(one: Any, other: Any) -> Any:
    patched = one.clone()
    patched.add_patches(lora_of(one), 1.0)
    return patched


def images_of(how: str, make: Callable[[Any, Any], Any], one: Any, other: Any) -> list[torch.Tensor]:
    """Patched, not patched and patched again."""
    one.weight_inplace_update = how == "weights in place"
    found = []
    for patched in (True, False, True):
        model = make(one, other) if patched else one
        if how == "as for little device memory":
            model.load(CPU, lowvram_model_memory=1)
            assert any(getattr(m, "weight_function", []) for m in model.model.modules()) == patched
        found.append(image_of(model))
        comfy.model_management.free_memory(1e30, CPU)
    return found


@pytest.mark.parametrize("how", ["in the host's memory", "as for little device memory", "weights in place"])
def test_patched_and_merged_models_are_right_and_the_cache_is_untouched(held: Held, how: str) -> None:
    more = (merged("ModelSubtract"), merged("ModelAdd"), with_patches) if how == "in the host's memory" else ()
    for make in (merged("ModelMergeSimple"), with_lora(held.lora()), *more):
        ours = images_of(how, make, held.model, held.other)
        assert held.untouched()
        assert torch.equal(ours[0], ours[2])
        assert not torch.equal(ours[0], ours[1])
        stocks = images_of(how, make, held.stock, held.stock_other)
        assert all(torch.equal(one, other) for one, other in zip(ours, stocks, strict=True))


def test_one_weight_patched_by_hand_is_a_new_one(held: Held) -> None:
    patched = with_patches(held.model, None)
    (key, *_) = lora_of(held.model)
    original = comfy.utils.get_attr(held.model.model, key).clone()
    for inplace in (False, True):
        patched.patch_weight_to_device(key, CPU, inplace_update=inplace)
        assert not torch.equal(comfy.utils.get_attr(held.model.model, key), original)
        assert held.untouched()
        patched.unpatch_model(CPU)
        assert torch.equal(comfy.utils.get_attr(held.model.model, key), original)
        assert held.untouched()


@pytest.mark.parametrize("mode", [comfy.hooks.EnumHookMode.MinVram, comfy.hooks.EnumHookMode.MaxSpeed])
def test_hooks_with_keyframes_write_into_memory_of_their_own(held: Held, mode: Any) -> None:
    """A scheduled hook LoRA: its strength changes between steps, so weights are written again and again."""
    hooked = held.model.clone()
    hooked.hook_mode = mode
    original = weights(held.model)
    comfy.model_management.load_models_gpu([hooked])
    groups = []
    for strength in (0.3, 1.0):
        hook, group = comfy.hooks.WeightHook(strength, strength), comfy.hooks.HookGroup()
        group.add(hook)
        hooked.add_hook_patches(hook=hook, patches=lora_of(held.model, strength=strength), strength_patch=strength)
        groups.append(group)
    seen = []
    for group in (*groups, *groups):
        hooked.patch_hooks(group)
        seen.append(weights(held.model))
        assert held.untouched()
    assert same(seen[0], seen[2])
    assert same(seen[1], seen[3])
    assert not same(seen[0], seen[1])
    hooked.clean_hooks()
    assert same(weights(held.model), original)
    assert held.untouched()


def test_a_forced_hook_and_a_lora_together_restore_what_was_there(held: Held) -> None:
    original = weights(held.model)
    patched = with_patches(held.model, None)
    hook, group = comfy.hooks.WeightHook(0.5, 0.5), comfy.hooks.HookGroup()
    group.add(hook)
    patched.forced_hooks = group
    patched.add_hook_patches(hook=hook, patches=lora_of(held.model, strength=0.2), strength_patch=0.5)
    comfy.model_management.load_models_gpu([patched])
    assert not same(weights(held.model), original)
    assert held.untouched()
    patched.detach()
    assert same(weights(held.model), original)
    assert held.untouched()


def test_a_text_encoder_with_a_lora_and_saving_a_patched_model_read_only(held: Held, tmp_path: Path) -> None:
    _, clip = comfy.sd.load_lora_for_models(None, held.clip, dict(held.lora()), 1.0, 1.0)
    clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    patched = with_patches(held.model, None)
    saved = tmp_path / "saved.safetensors"
    comfy.sd.save_checkpoint(str(saved), patched, clip, held.vae)
    assert saved.stat().st_size > 1_000_000
    held.vae.decode(torch.zeros(1, 16, 8, 8))
    held.vae.encode(torch.zeros(1, 64, 64, 3))
    assert held.untouched()


def test_weights_that_are_cast_for_computing_are_cast_into_new_memory(held: Held) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        model = held.model.clone()
        model.set_model_compute_dtype(dtype)
        model.force_cast_weights = True
        image_of(model)
        assert held.untouched()
    held.model.model.to(torch.float32)  # and the module as a whole, as some extensions do
    assert held.untouched()
