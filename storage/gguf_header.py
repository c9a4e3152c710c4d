"""A strict reader of GGUF headers, in the form of safetensors headers: names, shapes, and ggml's types as dtypes.

GGUF is little-endian; dimensions are written innermost first and come out here as torch has them.  Format: version 2 and 3 of
ggml's `docs/gguf.md`.  Pure: ``read_at(offset, length)`` gives bytes, fewer only at the file's end.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import NoReturn

from .errors import InvalidSafetensors
from .safetensors_header import MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_TENSORS, SafetensorsHeader, TensorInfo

BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""ggml's types that diffusion models are kept in: name, elements a block, bytes a block"""
BITS = {name: size_bytes * 8 / elements for name, elements, size_bytes in BLOCKS.values()}
"""an element, the block's scales included"""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
VALUES_MOST = 100_000
FIRST_READ_BYTES = 256 << 10


def parse_gguf(read_at: Callable[[int, int], bytes], file_bytes: int) -> SafetensorsHeader:
    """metadata: the file's values that are text or numbers.  Raises InvalidSafetensors."""
    source = _Source(read_at)
    if source.take(4) != b"GGUF":
        _refuse("it does not start with GGUF")
    version, tensors, values = source.unpack("<IQQ")
    if version not in (2, 3):
        _refuse(f"version {version} is unknown")
    if tensors > MAX_TENSORS or values > VALUES_MOST:
        _refuse(f"{tensors} tensors and {values} values are more than allowed")
    metadata: dict[str, str] = {}
    for _ in range(values):
        name = source.text(MAX_NAME_BYTES * 64)
        value = source.value(source.unpack("<I")[0])
        if value is not None:
            metadata[name] = value
    described = [_described(source) for _ in range(tensors)]
    alignment = int(metadata["general.alignment"]) if metadata.get("general.alignment", "").isdecimal() else 32
    if not 1 <= alignment <= 1 << 20:
        _refuse(f"an alignment of {alignment}")
    data_start = -(-source.at // alignment) * alignment
    found: dict[str, TensorInfo] = {}
    for name, dtype, shape, offset, size_bytes in described:
        start = data_start + offset
        if name in found or start + size_bytes > file_bytes:
            _refuse("a tensor is there twice or reaches past the file's end")
        found[name] = TensorInfo(dtype, shape, start, start + size_bytes)
    return SafetensorsHeader(dict(sorted(found.items())), metadata, data_start)


def _described(source: _Source) -> tuple[str, str, tuple[int, ...], int, int]:
    name = source.text(MAX_NAME_BYTES)
    (dimensions,) = source.unpack("<I")
    if dimensions > MAX_DIMENSIONS:
        _refuse(f"a tensor of {dimensions} dimensions")
    shape = tuple(reversed(source.unpack(f"<{dimensions}Q")))
    kind, offset = source.unpack("<IQ")
    if kind not in BLOCKS:
        _refuse(f"the type {kind} is unknown")
    dtype, elements, block_bytes = BLOCKS[kind]
    count = math.prod(shape)
    if count % elements or (shape and shape[-1] % elements):
        _refuse("a row does not end with a block")
    return name, dtype, shape, offset, count // elements * block_bytes


class _Source:
    """Reads on, in pieces that grow; never more than a header may have."""

    def __init__(self, read_at: Callable[[int, int], bytes]) -> None:
        self._read_at = read_at
        self._bytes = b""
        self.at = 0

    def take(self, length: int) -> bytes:
        if self.at + length > MAX_HEADER_BYTES:
            _refuse(f"the header has more than the {MAX_HEADER_BYTES} bytes that are allowed")
        if self.at + length > len(self._bytes):
            wanted = max(self.at + length - len(self._bytes), FIRST_READ_BYTES, len(self._bytes))
            self._bytes += self._read_at(len(self._bytes), wanted)
            if self.at + length > len(self._bytes):
                _refuse("the header is cut off")
        self.at += length
        return self._bytes[self.at - length : self.at]

    def unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self, most: int) -> str:
        (length,) = self.unpack("<Q")
        if length > most:
            _refuse(f"a text of {length} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            _refuse("a text is not UTF-8")

    def value(self, kind: int, depth: int = 0) -> str | None:
        """As text; None for arrays, which are read past."""
        if kind in _SCALARS:
            return str(self.unpack("<" + _SCALARS[kind])[0])
        if kind == _STRING:
            return self.text(MAX_HEADER_BYTES)
        if kind != _ARRAY or depth > 2:
            _refuse(f"a value of the kind {kind}")
        inner, count = self.unpack("<IQ")
        if inner in _SCALARS:
            self.take(struct.calcsize("<" + _SCALARS[inner]) * min(count, MAX_HEADER_BYTES))
        else:
            for _ in range(min(count, MAX_HEADER_BYTES)):
                self.value(inner, depth + 1)
        return None


def _refuse(rule: str) -> NoReturn:
    raise InvalidSafetensors("it is not a valid GGUF file", cause=rule, next_step="upload the file again, or convert it anew")
