"""Seam: ``comfy.utils.load_torch_file``, through which ComfyUI reads every model file but embeddings.

For a path of ours the tensors come from the cache; everything else is passed on as it came.  Modules that took
the function by name (``from comfy.utils import load_torch_file``) hold the original: a sweep over ``sys.modules``
rebinds them when the seam is put on, and once more before the first load, when all extensions are imported.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage.errors import ModelStreamError
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import kind_of
from .context import executing
from .pickles import is_safetensors_name, refuse_by_content, refuse_by_name
from .progress import NodeWatch
from .report import reporting
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem

_OPTIONS = ("safe_load", "device", "return_metadata")
"""what load_torch_file takes after the path, in this order"""


class LoadingSeam(Seam):
    name = "loading"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self._lock = threading.Lock()
        self._pairs: list[tuple[Wrapped, Wrapped]] = []
        """(original, wrapper); in a list, where no sweep looks"""
        self._rebound: list[tuple[str, str]] = []
        self._swept_all = False
        self._hearers: list[Callable[[Any], object]] = []
        self.reads_files: Callable[[], bool] = lambda: False
        """whether ComfyUI's own reader takes weights from their file as it needs them: see `hooks.own_reader`"""

    def hear(self, hearer: Callable[[Any], object]) -> None:
        """Called with what the cache opened, before its tensors are handed out.  Quick."""
        self._hearers.append(hearer)

    def problem(self) -> str:
        utils = sys.modules.get("comfy.utils")
        return shape_problem(getattr(utils, "load_torch_file", None), "ckpt", *_OPTIONS)

    def wrap_all(self) -> None:
        self._pairs.append(self.wrap(sys.modules["comfy.utils"], "load_torch_file", self._load_torch_file))
        self._sweep()
        self.undo_with(self._unsweep)

    def sweep_once_more(self) -> None:
        """Called before every load; works once, when everything that ComfyUI imports at start is imported."""
        with self._lock:
            if self._swept_all or not self._pairs:
                return
            self._swept_all = True
        self._sweep()

    # -- the wrapper -------------------------------------------------------------------------------------------------
    def _load_torch_file(self, original: Wrapped, ckpt: Any, *args: Any, **kwargs: Any) -> Any:
        path = os.fspath(ckpt) if isinstance(ckpt, os.PathLike) else ckpt
        obj = self._runtime.object_at(path)
        if obj is None:
            return original(ckpt, *args, **kwargs)
        asked, request = _Asked.of(args, kwargs), self._runtime.request_for(path, obj)
        again = self._runtime.handed_out.counted(path, executing())
        with reporting(self._runtime.bus, obj, request, again=again) as report, NodeWatch(obj.basename) as watch:
            opened, result = self._load(original, obj, asked, watch)
            watch.finished(opened)
            report.loaded(opened)
            return result

    def _load(self, original: Wrapped, obj: RemoteObject, asked: _Asked, watch: NodeWatch) -> tuple[Any, Any]:
        if not is_safetensors_name(obj.basename):
            refuse_by_name(self._runtime.config, obj)
            return self._file(original, obj, asked, watch)
        cache, ways = self._runtime.cache, [self._tensors, self._file]
        if self.reads_files() and not cache.is_in_memory(obj) and cache.is_on_disk(obj):
            ways.insert(0, self._left_to_comfyui)
        for way in ways[:-1]:
            try:
                return way(original, obj, asked, watch)
            except ModelStreamError:
                raise
            except Exception as error:
                if watch.stopped is error:  # the user's interrupt
                    raise
                self.ours_failed(error)  # the next way may still manage; the last one is ComfyUI's own reader
        return ways[-1](original, obj, asked, watch)

    def _tensors(self, original: Wrapped, obj: RemoteObject, asked: _Asked, watch: NodeWatch) -> tuple[Any, Any]:
        with self._runtime.cache.open_tensors(obj, watch) as opened:
            for hearer in self._hearers:
                hearer(opened)
            tensors = opened.state_dict(asked.device)
            return opened, (tensors, opened.metadata) if asked.return_metadata else tensors

    def _file(self, original: Wrapped, obj: RemoteObject, asked: _Asked, watch: NodeWatch) -> tuple[Any, Any]:
        """Through a real file and ComfyUI's own reader, which unpickles what is not safetensors."""
        with self._runtime.cache.open_file(obj, watch) as opened:
            if not is_safetensors_name(obj.basename):
                with open(opened.path, "rb") as file:
                    kind = kind_of(file.read(16))
                if kind == "safetensors":
                    return self._tensors(original, obj, asked, watch)
                refuse_by_content(self._runtime.config, obj, opened.path)
            return opened, asked.pass_on(original, opened.path)

    def _left_to_comfyui(self, original: Wrapped, obj: RemoteObject, asked: _Asked, watch: NodeWatch) -> tuple[Any, Any]:
        """The file on the SSD, checked, and leased for as long as ComfyUI has it mapped."""
        from .own_reader import when_unmapped

        opened = self._runtime.cache.open_file(obj, watch)
        try:
            result = asked.pass_on(original, opened.path)
            when_unmapped(result[0] if asked.return_metadata else result, opened.close)
        except BaseException:
            opened.close()
            raise
        return opened, result

    # -- early bindings ------------------------------------------------------------------------------------------------
    def _sweep(self) -> None:
        original, wrapper = self._pairs[0]
        self._rebound += rebind(original, wrapper)

    def _unsweep(self) -> None:
        original, wrapper = self._pairs.pop()
        for module, attribute in self._rebound:
            namespace = getattr(sys.modules.get(module), "__dict__", {})
            if namespace.get(attribute) is wrapper:
                namespace[attribute] = original
        self._rebound.clear()
        self._swept_all = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one caller gave beside the path, by name."""

    given: dict[str, Any]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Asked:
        return cls({**dict(zip(_OPTIONS, args, strict=False)), **kwargs})

    @property
    def device(self) -> str:
        device = self.given.get("device")
        return "cpu" if device is None else str(device)

    @property
    def return_metadata(self) -> bool:
        return bool(self.given.get("return_metadata"))

    def pass_on(self, original: Wrapped, path: str) -> Any:
        """To ComfyUI's own reader, which must not unpickle more than tensors."""
        return original(path, **{**self.given, "safe_load": True})


def rebind(old: Any, new: Any) -> list[tuple[str, str]]:
    """Every module attribute that is ``old`` becomes ``new``; returns (module, attribute) of each.  5,000 modules in 20 ms."""
    found = []
    for module_name, module in list(sys.modules.items()):
        namespace = getattr(module, "__dict__", None)
        if isinstance(namespace, dict):
            found += [(module_name, attribute) for attribute, value in list(namespace.items()) if value is old]
    for module_name, attribute in found:
        sys.modules[module_name].__dict__[attribute] = new
    return found
