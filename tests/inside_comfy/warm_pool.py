"""ComfyUI's own loaders, answered from the pool of warm models."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.clip_vision
import comfy.controlnet
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.cli_args import args
from comfy.sd import load_checkpoint_guess_config as STOCK

import nodes
from modelstream.cache.vram import Limits
from modelstream.hooks.seam import MARK
from modelstream.hooks.shared_memory import SharedMemory
from modelstream.hooks.warm_models import WarmModelsSeam
from rig.warm_parts import lora_of, same, weights

TINY = Path(os.environ["TINY_CHECKPOINT"])
OTHERS = Path(os.environ["LOADERS"])
KINDS = {
    "checkpoints": TINY,
    "diffusion_models": TINY.parents[1] / "diffusion_models" / "tiny.safetensors",
    "vae": TINY.parents[1] / "vae" / "tiny.safetensors",
    "text_encoders": OTHERS / "text_encoders" / "small-clip.safetensors",
    "clip_vision": OTHERS / "clip_vision" / "small-vision.safetensors",
    "controlnet": OTHERS / "controlnet" / "small-adapter.safetensors",
}
ORIGINAL = [comfy.utils.load_torch_file]
core, sd = comfy, comfy.sd
args.fp16_unet = True


class Warm:
    """The seam over local files; ``reads``: every model file that was really read."""

    def __init__(self, comfy: Any, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.comfy = comfy
        self.available = 1 << 40
        self.reads: list[str] = []
        self.seam = WarmModelsSeam(
            comfy.runtime,
            SharedMemory(),
            more.pop("limits", Limits()),
            more.pop("keep_free_bytes", 0),
            available_bytes=lambda: self.available,
        )
        entries: tuple[Any, ...] = ()
        comfy.cache.snapshot = lambda: SimpleNamespace(ram=SimpleNamespace(budget_bytes=1 << 40, entries=entries))
        comfy.seams.put_on(self.seam)
        assert [s.state for s in comfy.seams.states()] == ["on"], comfy.seams.states()
        read = self._reading(core.utils.load_torch_file)
        monkeypatch.setattr(core.utils, "load_torch_file", read)
        monkeypatch.setattr(core.clip_vision, "load_torch_file", read)

    def _reading(self, original: Any) -> Any:
        def load_torch_file(ckpt: str, *args: Any, **kwargs: Any) -> Any:
            self.reads.append(os.path.basename(ckpt))
            return original(ckpt, *args, **kwargs)

        return load_torch_file

    def file(self, folder: str, name: str = "a.safetensors") -> str:
        path = Path(self.comfy.local(f"{folder}/{name}"))
        shutil.copy(KINDS[folder], path)
        return str(path)

    def checkpoint(self, name: str = "a.safetensors", **more: Any) -> Any:
        path = Path(folder_paths.models_dir) / "checkpoints" / name
        return sd.load_checkpoint_guess_config(str(path), **{"output_vae": True, "output_clip": True, **more})

    @property
    def labels(self) -> list[str]:
        return [one.label for one in self.seam.pool.snapshot().entries]


@pytest.fixture
def warm(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> Warm:
    made = Warm(comfy, monkeypatch)
    made.file("checkpoints")
    return made


def test_the_same_checkpoint_is_loaded_once(warm: Warm) -> None:
    first, second = warm.checkpoint(), warm.checkpoint()
    assert warm.reads == ["a.safetensors"]
    assert first[0] is not second[0]
    assert first[0].model is second[0].model
    assert first[0].patches_uuid == second[0].patches_uuid
    assert first[2].first_stage_model is second[2].first_stage_model
    assert warm.labels == ["local:a.safetensors"]
    assert warm.seam.pool.snapshot().saved_seconds > 0


def test_other_options_are_another_model(warm: Warm) -> None:
    warm.checkpoint()
    assert warm.checkpoint(output_vae=False)[2] is None
    warm.checkpoint(embedding_directory=["/somewhere/else"])
    warm.checkpoint(model_options={"dtype": torch.float32})
    assert len(warm.reads) == 4
    warm.checkpoint(model_options={"dtype": torch.float32}, embedding_directory=None)
    assert len(warm.reads) == 4


def test_positional_and_named_arguments_are_the_same_call(warm: Warm) -> None:
    path = warm.file("checkpoints")
    sd.load_checkpoint_guess_config(path, True, True)
    sd.load_checkpoint_guess_config(ckpt_path=path, output_clip=True)
    assert len(warm.reads) == 1


def test_a_file_that_has_changed_is_read_again(warm: Warm) -> None:
    path = warm.file("checkpoints")
    warm.checkpoint()
    os.utime(path, ns=(1, 1))
    warm.checkpoint()
    assert len(warm.reads) == 2


def test_a_call_with_an_argument_that_is_not_plain_is_passed_on(warm: Warm) -> None:
    for _ in range(2):
        warm.checkpoint(model_options={"custom_operations": core.ops.disable_weight_init})
    assert len(warm.reads) == 2
    assert warm.labels == []


def test_a_lora_on_off_and_on_leaves_the_pools_model_as_it_was(warm: Warm) -> None:
    original = weights(warm.checkpoint()[0])
    seen = []
    for strength in (1.0, None, 1.0):
        model = warm.checkpoint()[0]
        assert not model.patches
        if strength is not None:
            model = model.clone()
            model.add_patches(lora_of(model), strength)
        core.model_management.load_models_gpu([model])
        seen.append(weights(model))
    assert same(seen[0], seen[2])
    assert not same(seen[0], seen[1])
    assert same(seen[1], original)
    assert len(warm.reads) == 1


def test_what_is_set_on_a_clone_is_not_on_the_next(warm: Warm) -> None:
    model, clip, vae, _ = warm.checkpoint()
    model.model_options["transformer_options"]["mine"] = True
    clip.clip_layer(-2)
    vae.mine = True
    model, clip, vae, _ = warm.checkpoint()
    assert "mine" not in model.model_options["transformer_options"]
    assert clip.layer_idx is None
    assert not hasattr(vae, "mine")


@pytest.mark.parametrize(
    ("folder", "load"),
    [
        ("diffusion_models", lambda path: sd.load_diffusion_model(path)),
        ("text_encoders", lambda path: sd.load_clip(ckpt_paths=[path], embedding_directory=None)),
        ("clip_vision", lambda path: core.clip_vision.load(path)),
        ("controlnet", lambda path: core.controlnet.load_controlnet(path)),
        ("vae", lambda path: nodes.VAELoader().load_vae("a.safetensors")[0]),
    ],
)
def test_every_loader_is_answered_from_the_pool(warm: Warm, folder: str, load: Any) -> None:
    path = warm.file(folder)
    first, second = load(path), load(path)
    assert warm.reads == ["a.safetensors"]
    assert first is not second
    assert type(first) is type(second)
    (entry,) = warm.seam.pool.snapshot().entries
    assert entry.sizes.host_bytes > 0


def test_an_object_of_the_bucket_is_known_by_its_digest(comfy: Any, warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelstream.hooks.folders import view_of

    comfy.holds("checkpoints/far.safetensors")
    obj = comfy.runtime.catalog.find(view_of("checkpoints"), "far.safetensors")
    monkeypatch.setattr(core.utils, "load_torch_file", lambda *a, **k: (ORIGINAL[0](str(TINY)), None))
    for _ in range(2):
        sd.load_checkpoint_guess_config(comfy.cache.path_for(obj), output_clip=False)
    snapshot = warm.seam.pool.snapshot()
    assert (snapshot.hits, warm.labels) == (1, [obj.subject])
    assert comfy.cache.noted == ["checkpoints/far.safetensors"], "the tiers below hear of the use"


def test_two_threads_that_want_one_model_load_it_once(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()
    read = core.utils.load_torch_file

    def slow(*args: Any, **kwargs: Any) -> Any:
        inside.set()
        assert go_on.wait(30)
        return read(*args, **kwargs)

    monkeypatch.setattr(core.utils, "load_torch_file", slow)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(warm.checkpoint())) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len({id(model.model) for model, *_ in found}) == 1
    assert len(found) == 3
    assert warm.reads == ["a.safetensors"]
    assert not warm.seam._flights._running


def test_a_load_that_fails_is_tried_again_by_the_next(warm: Warm) -> None:
    (Path(folder_paths.models_dir) / "checkpoints" / "broken.safetensors").write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(Exception, match="header"):
            warm.checkpoint("broken.safetensors")
    assert len(warm.reads) == 2
    assert warm.labels == []


def test_when_the_hosts_memory_does_not_do_the_unused_models_go_and_it_is_tried_again(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    warm.file("checkpoints", "b.safetensors")
    warm.checkpoint()
    read, failures = core.utils.load_torch_file, [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(*args, **kwargs)

    monkeypatch.setattr(core.utils, "load_torch_file", failing)
    with pytest.raises(MemoryError):
        warm.checkpoint("b.safetensors")  # only once more
    assert warm.labels == []
    assert warm.checkpoint("b.safetensors")[0] is not None


def test_below_the_floor_of_free_memory_unused_models_go(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = Warm(comfy, monkeypatch, keep_free_bytes=1000)
    for name in ("a.safetensors", "b.safetensors"):
        warm.file("checkpoints", name)
    warm.checkpoint("a.safetensors")
    mine = warm.checkpoint("b.safetensors")
    warm.available = 999
    assert warm.seam.yield_memory() > 0
    assert warm.labels == ["local:b.safetensors"]  # in use: it would not free anything
    del mine
    assert warm.seam.yield_memory() > 0
    assert warm.labels == []


def test_who_watches_memory_asks_and_the_thread_that_runs_prompts_lets_go(warm: Warm) -> None:
    mine = warm.checkpoint()
    told: list[int] = []
    warm.seam.yielded = lambda: told.append(1)
    assert warm.seam.ask_to_yield(1000) == 0  # in use: it would not free anything
    del mine
    gc.collect()
    assert warm.seam.ask_to_yield(1000) == 1000
    assert warm.labels == ["local:a.safetensors"]  # nothing has gone yet
    assert warm.seam.yield_memory() > 1000
    assert (warm.labels, told) == ([], [1])
    assert warm.seam.yield_memory() == 0  # it was asked once


def test_a_controlnet_with_a_model_of_its_own_is_kept_with_it(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load_controlnet(ckpt_path: str, model: Any = None, model_options: Any = None) -> Any:
        loaded.append(ckpt_path)
        return core.controlnet.ControlNet(torch.nn.Linear(64, 64, bias=False), load_device=torch.device("cpu"))

    monkeypatch.setattr(core.controlnet, "load_controlnet", load_controlnet)
    warm = Warm(comfy, monkeypatch)
    path = warm.file("controlnet")
    first, second = core.controlnet.load_controlnet(path), core.controlnet.load_controlnet(path)
    assert len(loaded) == 1
    assert first is not second
    assert first.control_model is second.control_model
    assert first.control_model_wrapped is second.control_model_wrapped
    first.set_cond_hint(torch.zeros(1, 3, 8, 8), 0.5)
    assert second.cond_hint_original is None
    (entry,) = warm.seam.pool.snapshot().entries
    assert (entry.sizes.host_bytes, entry.in_use) == (64 * 64 * 4, True)


def test_another_device_is_another_model(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    first = warm.checkpoint()
    monkeypatch.setattr(core.model_management, "vae_device", lambda: torch.device("cuda:1"))
    key_before = len(warm.labels)
    monkeypatch.setattr(sd, "VAE", lambda **kwargs: None)  # there is no such device here
    warm.checkpoint()
    monkeypatch.undo()
    assert len(warm.reads) == 2
    assert key_before == 1
    assert first[0] is not None


def test_what_newer_comfyui_loads_again_by_itself_is_not_the_pools_clone(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    path = warm.file("checkpoints")
    wrapper = sd.load_checkpoint_guess_config
    assert getattr(wrapper, MARK) == "warm_models"
    inner = sd.load_state_dict_guess_config

    def newer(*args: Any, **kwargs: Any) -> Any:
        model, *rest = inner(*args, **kwargs)
        model.cached_patcher_init = (sd.load_checkpoint_guess_config, (path,), 0)
        return (model, *rest)

    monkeypatch.setattr(sd, "load_state_dict_guess_config", newer)
    model = warm.checkpoint()[0]
    factory, given, index = model.cached_patcher_init
    assert getattr(factory, MARK, None) is None
    assert factory(*given)[index].model is not model.model


def test_taking_the_seam_off_leaves_comfyui_as_it_was(comfy: Any, warm: Warm) -> None:
    warm.checkpoint()
    comfy.seams.take_off()
    assert sd.load_checkpoint_guess_config is STOCK
    assert warm.labels == []
    assert not hasattr(nodes.VAELoader.load_vae, MARK)
    warm.checkpoint()
    warm.checkpoint()
    assert len(warm.reads) == 3
