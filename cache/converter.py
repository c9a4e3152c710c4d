"""Makes a converted safetensors image out of a model's tensors, one after the other, in whatever order they come.

The image is a whole safetensors file: header in front, then the tensors as they were finished, the scales at the end.  Its
header is written last, into room that was kept for the longest that it can become, and padded with spaces as the
format allows.  So the image can lie in the RAM tier, be written to the SSD and be published like any other file.

Used by one thread at a time.  Knows no transfer and no tier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..storage.safetensors_header import SafetensorsHeader, TensorInfo
from . import quantize
from .precision import ALREADY, ConversionPlan, converted_bytes
from .quantize import Part, Stays

ERRORS = "modelstream_conversion"
"""metadata key of the report: recipe, architecture, error of each layer"""
_LONGEST = 10**12
"""an offset with as many digits as any can have"""


class ImageFull(Exception):
    """More layers had to stay as they are than there was room for.  ``needed_bytes`` is always enough."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(needed_bytes)
        self.needed_bytes = needed_bytes


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """errors: of every converted layer; stays: layer → why it was not converted ("nan", "inf", "error")"""

    recipe: str
    architecture: str
    source_bytes: int
    size_bytes: int
    errors: Mapping[str, float]
    stays: Mapping[str, str]

    @property
    def worst(self) -> tuple[str, float]:
        return max(self.errors.items(), key=lambda item: item[1], default=("", 0.0))


@dataclass(slots=True)
class Converter:
    """plan, header: of the source.  into: the image; see `room_bytes`."""

    plan: ConversionPlan
    header: SafetensorsHeader
    into: memoryview
    source: str = ""
    _start: int = 0
    _at: int = 0
    _placed: dict[str, TensorInfo] = field(default_factory=dict)
    _scales: list[tuple[str, Part]] = field(default_factory=list)
    _scales_bytes: int = 0
    _errors: dict[str, float] = field(default_factory=dict)
    _stays: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = self._at = header_room_bytes(self.plan, self.header)

    def add(self, name: str, raw: memoryview) -> None:
        """raw: the tensor's bytes as the source has them.  Raises ImageFull."""
        info, layer = self.header.tensors[name], self.plan.layers.get(name)
        if layer is None:
            self._keep(name, info, raw)
            return
        self._refuse_overflow(converted_bytes(self.plan.form, info))
        made = quantize.convert(raw, info, self.plan.form, self.into[self._at :])
        if isinstance(made, Stays):
            self._stays[layer] = made.why
            self._keep(name, info, raw)
            return
        self._errors[layer] = made.error
        self._place(name, made.weight_dtype, made.weight_shape, made.weight_bytes)
        stem = name.removesuffix("weight")
        self._scales += ((stem + part.suffix, part) for part in made.parts)
        self._scales_bytes += sum(part.size_bytes for part in made.parts)

    def finish(self) -> tuple[int, ConversionReport]:
        """Every tensor was added: the image's size in bytes, and what was done."""
        assert len(self._placed) == len(self.header.tensors), "a tensor is missing"
        for name, part in sorted(self._scales, key=lambda scale: -_alignment(scale[1].dtype)):
            raw = memoryview(part.raw).cast("B")
            self.into[self._at : self._at + len(raw)] = raw
            self._place(name, part.dtype, part.shape, len(raw))
        front = self._header()
        self.into[: len(front)] = front
        return self._at, self._report()

    # -- inside --------------------------------------------------------------------------------------------------------
    def _keep(self, name: str, info: TensorInfo, raw: memoryview) -> None:
        self._refuse_overflow(len(raw))
        self.into[self._at : self._at + len(raw)] = raw
        self._place(name, info.dtype, info.shape, len(raw))

    def _place(self, name: str, dtype: str, shape: tuple[int, ...], size_bytes: int) -> None:
        self._placed[name] = TensorInfo(dtype, shape, self._at, self._at + size_bytes)
        self._at += size_bytes

    def move_to(self, into: memoryview) -> None:
        """Goes on in another, larger buffer: what is done is copied there."""
        into[: self._at] = self.into[: self._at]
        self.into = into

    def _refuse_overflow(self, size_bytes: int) -> None:
        """The scales come last, and have their room for certain."""
        if self._at + self._scales_bytes + size_bytes > len(self.into):
            raise ImageFull(room_bytes(self.plan, self.header, stay_all=True))

    def _header(self) -> bytes:
        start = self._start
        entries = {
            name: {"dtype": info.dtype, "shape": info.shape, "data_offsets": (info.start - start, info.end - start)}
            for name, info in self._placed.items()
        }
        text = json.dumps({"__metadata__": self._metadata(), **entries}, separators=(",", ":")).encode()
        return (start - 8).to_bytes(8, "little") + text.ljust(start - 8)

    def _metadata(self) -> dict[str, str]:
        report = {"recipe": self.plan.recipe.tag, "architecture": self.plan.architecture, "source": self.source[:500]}
        report["errors"] = {layer: round(error, 5) for layer, error in self._errors.items()}  # type: ignore[assignment]
        report["stays"] = self._stays  # type: ignore[assignment]
        return {
            **(self.header.metadata or {}),
            ALREADY: _layers(self.plan, list(self._errors)),
            ERRORS: json.dumps(report, separators=(",", ":")),
        }

    def _report(self) -> ConversionReport:
        tag, architecture = self.plan.recipe.tag, self.plan.architecture
        return ConversionReport(tag, architecture, self.plan.source_bytes, self._at, dict(self._errors), dict(self._stays))


def room_bytes(plan: ConversionPlan, header: SafetensorsHeader, *, stay_all: bool = False) -> int:
    """What the image needs: with the layers converted as planned and a share of them staying, or with all of them staying."""
    largest = max(header.tensors[name].end - header.tensors[name].start for name in plan.layers)
    spare = max(largest, plan.source_bytes // 50)
    data_bytes = plan.source_bytes + 64 * len(plan.layers) if stay_all else plan.planned_bytes + spare
    return header_room_bytes(plan, header) + data_bytes


def header_room_bytes(plan: ConversionPlan, header: SafetensorsHeader) -> int:
    """The longest header that can come out, and its 8 bytes of length; a multiple of 64."""
    entries: dict[str, object] = {}
    for name, info in header.tensors.items():
        entries[name] = {"dtype": "F8_E4M3", "shape": info.shape, "data_offsets": (_LONGEST, _LONGEST)}
        if name in plan.layers:
            stem = name.removesuffix("weight")
            for suffix in ("weight_scale", "weight_scale_2"):
                entries[stem + suffix] = {"dtype": "F8_E4M3", "shape": info.shape, "data_offsets": (_LONGEST, _LONGEST)}
    layers = list(plan.layers.values())
    report = {"errors": dict.fromkeys(layers, 0.12345), "stays": dict.fromkeys(layers, "error")}
    metadata = {**(header.metadata or {}), ALREADY: _layers(plan, layers), ERRORS: json.dumps(report) + " " * 1024}
    longest = len(json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode())
    return -(-(8 + longest) // 64) * 64


def _layers(plan: ConversionPlan, layers: list[str]) -> str:
    """As ComfyUI reads it: 0.3.75 looks layers up by the model's own names (model_detection.detect_layer_quantization), newer
    ones by the file's (utils.convert_old_quants); each passes over the names it does not know."""
    described = {"format": plan.form.algorithm}
    names = dict.fromkeys((*layers, *(plan.prefix + layer for layer in layers)), described)
    return json.dumps({"format_version": "1.0", "layers": names}, separators=(",", ":"))


def _alignment(dtype: str) -> int:
    return 4 if dtype == "F32" else 1
