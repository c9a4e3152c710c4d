"""Estimates that were made, over a restart: of this ComfyUI with this torch on these devices; any other makes its own."""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..cache.fit import Component, Estimate, Work
from ..cache.state_file import StateFile
from .fit_shapes import Size

FORM = 1
CHOOSES = ("fp16", "bf16", "fp32", "fp64", "fp8", "attention", "cpu", "vram", "gpu", "directml", "channels")
"""in the names of ComfyUI's options: they decide about dtypes, devices or working memory"""

Key = tuple[str, str, str | None, Size, tuple[str, ...]]
"""digest, folder, form, size, devices"""


class KeptEstimates:
    """One thread at a time.  A file that cannot be read or written is none."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def read(self) -> OrderedDict[Any, Estimate]:
        found: OrderedDict[Any, Estimate] = OrderedDict()
        content = self._file.read()
        if isinstance(content, dict) and content.get("made_with") == made_with():
            try:
                for key, estimate in content["estimates"]:
                    digest, folder, form, size, devices = key
                    found[(digest, folder, form, Size(*size), tuple(devices))] = _estimate(estimate)
            except (KeyError, TypeError, ValueError):
                return OrderedDict()
        return found

    def write(self, kept: Mapping[Any, Estimate]) -> None:
        """Of objects only: a local file may become another without a new name."""
        rows = [
            ([key[0], key[1], key[2], list(asdict(key[3]).values()), list(key[4])], asdict(estimate))
            for key, estimate in kept.items()
            if len(key) == 5 and isinstance(key[3], Size)
        ]
        try:
            self._file.write({"made_with": made_with(), "estimates": rows})
        except OSError:  # a full or read-only disk: then they are made again
            return


def made_with() -> str:
    torch, version = sys.modules["torch"], sys.modules.get("comfyui_version")
    given = vars(sys.modules["comfy.cli_args"].args)
    chosen = {name: str(value) for name, value in given.items() if any(word in name for word in CHOOSES)}
    said = [getattr(version, "__version__", ""), torch.__version__, _device_name()]
    return hashlib.sha256(repr((said, sorted(chosen.items()))).encode()).hexdigest()


def _device_name() -> str:
    management = sys.modules["comfy.model_management"]
    device = management.get_torch_device()
    try:
        return str(management.get_torch_device_name(device))
    except Exception:  # a driver that does not tell
        return str(device)


def _estimate(read: dict[str, Any]) -> Estimate:
    parts = tuple(Component(**one) for one in read["components"])
    work = tuple(Work(**one) for one in read["work"])
    return Estimate(**{**read, "components": parts, "work": work, "latent": tuple(read["latent"])})
