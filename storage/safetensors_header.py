"""A strict reader of safetensors headers, and a look at the first bytes of files that are something else.

No byte of a file reaches a loader before its header passed `parse_header`.  It is stricter than the safetensors
library, which lets duplicate names, unknown fields and absurd shapes pass: whatever is accepted here the library
accepts too and reads the same way; `tests/test_safetensors_header.py` asserts that.

Pure functions over bytes: no I/O, no torch, safe in any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from .errors import InvalidSafetensors

MAX_HEADER_BYTES = 10_000_000
"""100,000 tensors with names of usual length; the format itself allows 100 MB, which no real file needs"""
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
MAX_NAME_BYTES = 1024
MAX_METADATA_BYTES = 1_000_000
LIMIT = 1 << 63
"""sizes and counts stay below: they fit the signed 64 bits of every reader"""

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""bits an element, every dtype of safetensors 0.8"""

# C0, DEL and C1 controls; lone surrogates, which JSON escapes can spell but UTF-8 cannot
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FIELDS = frozenset(("dtype", "shape", "data_offsets"))
_MAX_DIGITS = 19


class TensorInfo(NamedTuple):
    """One tensor: its bytes are [start, end) of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """A header that passed.

    tensors:    by name, sorted by name (the order in which the library's own reader lists them)
    data_start: where the data section begins; it ends with the file
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] | None
    data_start: int


def header_bytes(first8: bytes | memoryview, file_bytes: int, *, limit_bytes: int = MAX_HEADER_BYTES) -> int:
    """Bytes from the start of the file to its data section.  Raises InvalidSafetensors.

    ``limit_bytes`` caps the JSON that is ever parsed.
    """
    if file_bytes < 10 or len(first8) < 8:
        _refuse(f"a safetensors file has at least 10 bytes, this one has {file_bytes}")
    length = int.from_bytes(first8[:8], "little")
    if length > file_bytes - 8:
        _refuse(f"the header claims {length} bytes, the file has {file_bytes - 8} after the length")
    if length > limit_bytes:
        _refuse(f"the header has {length} bytes, more than the {limit_bytes} that are allowed")
    if length < 2:
        _refuse("the header is empty")
    return 8 + length


def parse_header(prefix: bytes | bytearray | memoryview, file_bytes: int, *, limit_bytes: int = MAX_HEADER_BYTES) -> SafetensorsHeader:
    """The header of a file of ``file_bytes`` bytes that starts with ``prefix``.  Raises InvalidSafetensors.

    ``prefix`` holds at least `header_bytes` bytes.  3,000 tensors take about 10 ms.
    """
    data_start = header_bytes(bytes(prefix[:8]), file_bytes, limit_bytes=limit_bytes)
    if len(prefix) < data_start:
        _refuse(f"the header has {data_start} bytes, only {len(prefix)} of them are there")
    entries = _parse_json(bytes(prefix[8:data_start]))
    metadata = _metadata(entries.pop("__metadata__")) if "__metadata__" in entries else None
    if len(entries) > MAX_TENSORS:
        _refuse(f"the file has {len(entries)} tensors, more than {MAX_TENSORS}")
    tensors = {name: _tensor(name, entries[name], data_start) for name in sorted(entries)}
    _check_cover(tensors, data_start, file_bytes)
    return SafetensorsHeader(tensors, metadata, data_start)


def kind_of(first_bytes: bytes | memoryview) -> str:
    """What a file is, by its first 16 bytes: "safetensors", "zip", "pickle", "gguf" or "unknown".

    "zip" is what torch.save writes: pickles inside.  The oldest pickle protocols have no mark and come out as
    "unknown": whoever hands a file to torch.load treats an unknown one as a pickle.
    """
    first = bytes(first_bytes[:16])
    # first, because a header length of 640 also starts like a pickle; the zero bytes after it are no pickle
    if len(first) > 8 and first[8:9] == b"{" and 2 <= int.from_bytes(first[:8], "little") <= 100_000_000:
        return "safetensors"
    if first[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if first[:4] == b"GGUF":
        return "gguf"
    if len(first) >= 2 and first[0] == 0x80 and 2 <= first[1] <= 5:
        return "pickle"
    return "unknown"


def looks_like_pickle(first_bytes: bytes | memoryview) -> bool:
    """True for a pickle and for the zip of pickles that torch.save writes."""
    return kind_of(first_bytes) in ("zip", "pickle")


# -- the JSON --------------------------------------------------------------------------------------------------------
def _parse_json(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        _refuse("the header does not start with {")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("the header is not UTF-8")
    try:
        entries = _DECODER.decode(text)
    except RecursionError:
        _refuse("the header is nested too deeply")
    except ValueError as error:  # JSONDecodeError; its text holds no part of the header
        _refuse(f"the header is not JSON: {error}")
    assert isinstance(entries, dict)  # it starts with {
    return entries


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        _refuse(f"the name {_shown(twice)} is there twice")
    return entries


def _whole(digits: str) -> int:
    if digits[0] == "-" or len(digits) > _MAX_DIGITS:
        _refuse(f"the number {digits[:24]} is not between 0 and 2^63")
    number = int(digits)
    if number >= LIMIT:
        _refuse(f"the number {number} is not between 0 and 2^63")
    return number


def _no_fraction(digits: str) -> NoReturn:
    _refuse(f"the number {digits[:24]} is not a whole one")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_float=_no_fraction, parse_constant=_no_fraction)


# -- the rules -------------------------------------------------------------------------------------------------------
def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        _refuse("__metadata__ is not an object")
    total = 0
    for key, text in value.items():
        if not isinstance(text, str):
            _refuse(f"__metadata__: the value of {_shown(key)} is not text")
        try:
            total += len(key.encode("utf-8")) + len(text.encode("utf-8"))
        except UnicodeEncodeError:
            _refuse("__metadata__ holds a lone surrogate, which is no text")
    if total > MAX_METADATA_BYTES:
        _refuse(f"__metadata__ has {total} bytes, more than {MAX_METADATA_BYTES}")
    return value


def _tensor(name: str, entry: Any, data_start: int) -> TensorInfo:
    _check_name(name)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        _refuse(f"tensor {_shown(name)}: it has to have dtype, shape and data_offsets and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if type(dtype) is str else None
    if bits is None:
        _refuse(f"tensor {_shown(name)}: the dtype {_shown(dtype)} is unknown")
    if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(f"tensor {_shown(name)}: the shape is not a list of at most {MAX_DIMENSIONS} whole numbers")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        _refuse(f"tensor {_shown(name)}: data_offsets is not a pair of whole numbers")
    start, end = offsets
    if start > end:
        _refuse(f"tensor {_shown(name)}: it ends before it starts")
    if (end - start) * 8 != _size_bits(name, shape, bits):
        _refuse(f"tensor {_shown(name)}: {end - start} bytes are not what its shape and dtype need")
    return TensorInfo(dtype, tuple(shape), data_start + start, data_start + end)


def _check_name(name: str) -> None:
    if not name:
        _refuse("a tensor has no name")
    if _FORBIDDEN.search(name):
        _refuse(f"tensor {_shown(name)}: its name holds a control character or a lone surrogate")
    if len(name) * 4 > MAX_NAME_BYTES and len(name.encode("utf-8")) > MAX_NAME_BYTES:
        _refuse(f"tensor {_shown(name)}: its name is longer than {MAX_NAME_BYTES} bytes")


def _whole_numbers(value: Any) -> bool:
    # bool is an int in Python, not in JSON
    return type(value) is list and all(type(number) is int for number in value)


def _size_bits(name: str, shape: list[int], bits: int) -> int:
    # a reader multiplies strides past a zero dimension too, so the product without zeros must not overflow either
    total = span = bits
    for number in shape:
        total *= number
        span *= number or 1
        if span >= LIMIT:  # in bits, so that no product of bytes or of bits overflows
            _refuse(f"tensor {_shown(name)}: its size overflows")
    return total


def _check_cover(tensors: Mapping[str, TensorInfo], data_start: int, file_bytes: int) -> None:
    """The tensors fill the data section: no hole, no overlap, nothing behind them."""
    reached = data_start
    for start, end, name in sorted((info.start, info.end, name) for name, info in tensors.items()):
        if start != reached:
            word = "a hole before" if start > reached else "an overlap at"
            _refuse(f"tensor {_shown(name)}: {word} byte {start - data_start} of the data")
        reached = end
    if reached != file_bytes:
        _refuse(f"the tensors end at byte {reached}, the file has {file_bytes}")


def _shown(value: object) -> str:
    """Foreign text as it may stand in a message: short, ASCII, no control characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse(rule: str) -> NoReturn:
    raise InvalidSafetensors(
        "it is not a valid safetensors file",
        cause=rule,
        next_step="upload the file again, or write it anew with the safetensors library",
    )
