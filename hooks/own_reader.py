"""Seam: ComfyUI with dynamic VRAM reads weights from their file, at the moment it needs them.

There (``comfy.memory_management.aimdo_enabled``) ``load_torch_file`` only maps a safetensors file and marks every tensor
with its place in it; weights then go from the file to the GPU, page by page, and core decides what stays in memory.  An
object that is on the SSD and not in RAM is left to that reader: a copy in the arena would be a second one that core
cannot give up.  What is in RAM already, and what has to be fetched, goes the usual way.

Nothing is wrapped; `hooks.loading` asks.  ComfyUI without dynamic VRAM never sees this seam.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

from .loading import LoadingSeam
from .seam import Seam, shape_problem

SLICE_FIELDS = ("offset", "size")
"""of the mark that says where in its file a tensor lies; what else it has differs between versions"""


class OwnReaderSeam(Seam):
    name = "own_reader"

    def __init__(self, loading: LoadingSeam) -> None:
        super().__init__()
        self._loading = loading

    @staticmethod
    def is_there() -> bool:
        """Whether this ComfyUI knows dynamic VRAM at all."""
        return hasattr(sys.modules.get("comfy.memory_management"), "aimdo_enabled")

    def problem(self) -> str:
        mark = getattr(sys.modules["comfy.memory_management"], "TensorFileSlice", None)
        lacking = [name for name in SLICE_FIELDS if name not in getattr(mark, "_fields", ())]
        if lacking:
            return f"its tensors are not marked with {', '.join(lacking)}"
        return shape_problem(getattr(sys.modules.get("comfy.utils"), "load_safetensors", None), "ckpt")

    def wrap_all(self) -> None:
        self._loading.reads_files = _is_on
        self.undo_with(lambda: setattr(self._loading, "reads_files", lambda: False))


def _is_on() -> bool:
    """Asked at each load: ComfyUI turns it on after it has looked at the devices, and may turn it off."""
    return getattr(sys.modules.get("comfy.memory_management"), "aimdo_enabled", False) is True


def when_unmapped(tensors: Any, release: Callable[[], object]) -> None:
    """Calls ``release`` when nothing maps the file any more, which ComfyUI's reader mapped for these tensors; at once where
    that cannot be told.  In whatever thread lets go last."""
    for tensor in tensors.values() if isinstance(tensors, dict) else ():
        mapping = next(iter(getattr(tensor.untyped_storage(), "_comfy_tensor_mmap_refs", ())), None)
        if mapping is None:
            continue
        try:
            weakref.finalize(mapping, release).atexit = False
        except TypeError:
            break
        return
    release()
