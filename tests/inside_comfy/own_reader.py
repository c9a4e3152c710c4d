"""Dynamic VRAM, which only later ComfyUI has and only on a GPU: its interface stands in, the rest is ComfyUI's own.

What stands in has the names and shapes of later ComfyUI (0.38): ``comfy.memory_management`` with ``aimdo_enabled`` and
``TensorFileSlice(file_ref, lock, offset, size)``, and ``load_safetensors(ckpt)``, whose tensors are marked on their storage.
"""

from __future__ import annotations

import gc
import json
import mmap
import sys
import threading
import types
from collections import namedtuple
from typing import Any

import pytest
import safetensors.torch
import torch
from comfy import utils

from modelstream.hooks.loading import LoadingSeam
from modelstream.hooks.own_reader import OwnReaderSeam
from modelstream.hooks.resolving import ResolvingSeam
from modelstream.hooks.view_metadata import HeaderSeam
from modelstream.storage.events import ModelLoaded

KEY = "checkpoints/a.safetensors"
WEIGHTS = {"w": torch.arange(6, dtype=torch.float16).reshape(2, 3), "empty": torch.empty(0, 4)}
BODY = safetensors.torch.save(WEIGHTS, {"made": "there"})
FILES_READ: list[str] = []


class Mapping:
    """ComfyUI's ModelMMAP: what keeps a file mapped."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "rb")  # noqa: SIM115  open as long as it is mapped
        self.view = memoryview(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))


def load_safetensors(ckpt: str) -> tuple[dict[str, Any], dict[str, str]]:
    FILES_READ.append(ckpt)
    mapping, lock = Mapping(ckpt), threading.Lock()
    front = 8 + int.from_bytes(mapping.view[:8], "little")
    header = json.loads(bytes(mapping.view[8:front]))
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        start, end = info["data_offsets"]
        if start == end:
            tensors[name] = torch.empty(info["shape"])
            continue
        tensor = torch.frombuffer(mapping.view[front + start : front + end], dtype=torch.float16).view(info["shape"])
        storage = tensor.untyped_storage()
        mark = sys.modules["comfy.memory_management"].TensorFileSlice
        storage._comfy_tensor_file_slice = mark(mapping.file, lock, front + start, end - start)
        storage._comfy_tensor_mmap_refs = (mapping, mapping.view)
        tensors[name] = tensor
    return tensors, metadata


def load_torch_file(ckpt: str, safe_load: bool = False, device: Any = None, return_metadata: bool = False) -> Any:
    tensors, metadata = load_safetensors(ckpt)
    return (tensors, metadata) if return_metadata else tensors


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Later ComfyUI, on a GPU that it manages dynamically."""
    module = types.ModuleType("comfy.memory_management")
    module.__dict__.update(aimdo_enabled=True, TensorFileSlice=namedtuple("TensorFileSlice", "file_ref lock offset size"))
    monkeypatch.setitem(sys.modules, "comfy.memory_management", module)
    monkeypatch.setattr(utils, "load_safetensors", load_safetensors, raising=False)
    monkeypatch.setattr(utils, "load_torch_file", load_torch_file)
    FILES_READ.clear()
    return module


@pytest.fixture
def loaded(later: types.ModuleType, comfy: Any) -> Any:
    """comfy with the seams on and the object listed."""
    seam = LoadingSeam(comfy.runtime)
    comfy.seams.put_on(ResolvingSeam(comfy.runtime), seam, HeaderSeam(comfy.runtime))
    assert OwnReaderSeam.is_there()
    comfy.seams.put_on(OwnReaderSeam(seam))
    comfy.holds(KEY)
    comfy.cache.tensors[KEY], comfy.cache.bodies[KEY] = WEIGHTS, BODY
    return comfy


def path_of(comfy: Any) -> str:
    from modelstream.hooks.folders import view_of

    return comfy.cache.path_for(comfy.runtime.catalog.find(view_of("checkpoints"), "a.safetensors"))


def store(comfy: Any) -> None:
    from pathlib import Path

    path = Path(path_of(comfy))
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)


def test_this_comfyui_has_no_dynamic_vram_and_never_hears_of_it() -> None:
    assert not OwnReaderSeam.is_there()


def test_a_copy_on_the_ssd_is_left_to_comfyuis_own_reader_for_as_long_as_it_is_mapped(loaded: Any) -> None:
    store(loaded)
    tensors, metadata = utils.load_torch_file(path_of(loaded), return_metadata=True)
    assert FILES_READ == [path_of(loaded)] and loaded.cache.asked == [("file", KEY)]
    assert torch.equal(tensors["w"], WEIGHTS["w"]) and metadata == {"made": "there"}
    assert tensors["w"].untyped_storage()._comfy_tensor_file_slice.size == 12
    assert [e.subject for e in loaded.events if isinstance(e, ModelLoaded)] == [f"far:{KEY}"]
    assert loaded.cache.opened[0].closed == 0, "it may be evicted under ComfyUI"
    del tensors
    gc.collect()
    assert loaded.cache.opened[0].closed == 1


@pytest.mark.parametrize("why", ["it is in memory", "it is on no disk", "dynamic VRAM is off", "the seam was taken off"])
def test_everything_else_goes_the_usual_way(loaded: Any, later: types.ModuleType, why: str) -> None:
    if why != "it is on no disk":
        store(loaded)
    if why == "it is in memory":
        loaded.cache.in_memory.add(KEY)
    if why == "dynamic VRAM is off":
        later.aimdo_enabled = False
    if why == "the seam was taken off":
        loaded.seams._on.pop().take_off()
    assert torch.equal(utils.load_torch_file(path_of(loaded))["w"], WEIGHTS["w"])
    assert loaded.cache.asked == [("tensors", KEY)] and FILES_READ == []


def test_where_comfyuis_reader_fails_ours_serves_and_the_lease_goes_back(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store(loaded)
    monkeypatch.setattr(sys.modules[__name__], "Mapping", lambda path: 1 / 0)
    assert torch.equal(utils.load_torch_file(path_of(loaded))["w"], WEIGHTS["w"])
    assert loaded.cache.asked == [("file", KEY), ("tensors", KEY)]
    assert [opened.closed for opened in loaded.cache.opened] == [1, 1]
    assert next(s for s in loaded.seams.states() if s.name == "loading").reason.startswith("ZeroDivisionError")


@pytest.mark.parametrize("lacking", ["offset", "load_safetensors"])
def test_a_shape_that_changed_leaves_it_off_and_says_so(
    comfy: Any, later: types.ModuleType, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "offset":
        later.TensorFileSlice = namedtuple("TensorFileSlice", "file_ref size")
    else:
        monkeypatch.delattr(utils, "load_safetensors")
    seam = LoadingSeam(comfy.runtime)
    comfy.seams.put_on(seam, OwnReaderSeam(seam))
    assert [(s.name, s.state) for s in comfy.seams.states()] == [("loading", "on"), ("own_reader", "unfit")]
    assert not seam.reads_files()
