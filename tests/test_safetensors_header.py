"""The header validator: each malformed header breaks one rule, and whatever passes the safetensors library reads alike."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy
import pytest
import safetensors
import safetensors.numpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modelstream.storage.errors import InvalidSafetensors
from modelstream.storage.safetensors_header import (
    DTYPE_BITS,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    header_bytes,
    kind_of,
    looks_like_pickle,
    parse_header,
)


def file_of(header: Any, data_bytes: int, *, length: int | None = None) -> bytes:
    """A file with this header (text, bytes or what json makes of it) and so many zero bytes of data."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    raw = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(data_bytes)


def tensor(dtype: Any = "F32", shape: Any = (2,), start: Any = 0, end: Any = 8, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end], **more}


def one(name: str = "a", data_bytes: int = 8, **fields: Any) -> bytes:
    return file_of({name: tensor(**fields)}, data_bytes)


A = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def shaped(shape: str, size: int = 8) -> bytes:
    return file_of(f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{size}]}}}}', size)


def placed(offsets: str, size: int = 8) -> bytes:
    return file_of(f'{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}}}', size)


MALFORMED: dict[str, tuple[bytes, str]] = {
    # the length
    "no bytes": (b"", "at least 10 bytes"),
    "only a length": (bytes(8), "at least 10 bytes"),
    "a length of zero": (bytes(16), "header is empty"),
    "a length of one": (file_of("{", 8), "header is empty"),
    "a length past the end of the file": (file_of({}, 0, length=3), "the header claims 3"),
    "a length of 2^63": (file_of({}, 8, length=1 << 63), "the header claims"),
    "a length of 2^64 - 1": (file_of({}, 8, length=(1 << 64) - 1), "the header claims"),
    "a header above the limit": (file_of("{" + " " * MAX_HEADER_BYTES + "}", 0), "more than the 10000000"),
    # the text
    "a leading space": (file_of(" {" + A + "}", 8), "does not start with {"),
    "a byte order mark": (file_of("\ufeff{" + A + "}", 8), "does not start with {"),
    "a list": (file_of("[1,2]", 0), "does not start with {"),
    "a NUL first": (file_of("\0{}", 0), "does not start with {"),
    "UTF-16": (file_of(("{" + A + "}").encode("utf-16-le"), 8), "not JSON"),
    "an invalid byte": (file_of(b'{"\xff":1}', 0), "not UTF-8"),
    "an overlong form": (file_of(b'{"\xc0\xaf":1}', 0), "not UTF-8"),
    "an encoded surrogate": (file_of(b'{"\xed\xa0\x80":1}', 0), "not UTF-8"),
    "JSON that ends early": (file_of("{" + A, 8), "not JSON"),
    "bytes after the JSON": (file_of("{" + A + "}x", 8), "not JSON"),
    "NUL bytes as padding": (file_of("{" + A + "}\0\0", 8), "not JSON"),
    "a second object": (file_of("{" + A + "}{}", 8), "not JSON"),
    "a trailing comma": (file_of("{" + A + ",}", 8), "not JSON"),
    "single quotes": (file_of("{'a':1}", 0), "not JSON"),
    "a raw control character in a name": (file_of('{"a\n":1}', 0), "not JSON"),
    "lists nested 100,000 deep": (file_of('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", 0), "nested too deeply"),
    # names
    "a duplicate tensor": (file_of("{" + A + "," + A + "}", 8), "'a' is there twice"),
    "a duplicate spelt with an escape": (file_of("{" + A + "," + A.replace('"a"', r'"\u0061"') + "}", 8), "there twice"),
    "a duplicate field": (file_of('{"a":{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8), "'dtype' is there twice"),
    "a duplicate metadata key": (file_of('{"__metadata__":{"k":"1","k":"2"},' + A + "}", 8), "'k' is there twice"),
    "two metadata": (file_of('{"__metadata__":{},"__metadata__":{},' + A + "}", 8), "there twice"),
    "an empty name": (one(""), "has no name"),
    "a NUL in a name": (one("a\0b"), "control character"),
    "an escape character in a name": (one("a\x1b[31m"), "control character"),
    "a C1 control in a name": (one("a\x9b31m"), "control character"),
    "a lone surrogate in a name": (file_of("{" + A.replace('"a"', r'"\ud800"') + "}", 8), "lone surrogate"),
    "a name of 1,025 bytes": (one("n" * 1025), "longer than 1024"),
    "a name of 1,026 bytes in 342 characters": (one("\u20ac" * 342), "longer than 1024"),
    # fields
    "a tensor that is null": (file_of({"a": None}, 0), "and nothing else"),
    "a tensor that is a list": (file_of({"a": []}, 0), "and nothing else"),
    "no dtype": (file_of({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8), "and nothing else"),
    "no shape": (file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8), "and nothing else"),
    "no offsets": (file_of({"a": {"dtype": "F32", "shape": [2]}}, 8), "and nothing else"),
    "an unknown field": (one(strides=[1]), "and nothing else"),
    # dtype
    "an unknown dtype": (one(dtype="F128"), "dtype 'F128' is unknown"),
    "a dtype in lower case": (one(dtype="f32"), "is unknown"),
    "a dtype that is a number": (one(dtype=32), "is unknown"),
    "a dtype that is a list": (one(dtype=["F32"]), "is unknown"),
    # shape
    "a shape that is text": (shaped('"2"'), "shape is not a list"),
    "a shape that is null": (shaped("null"), "shape is not a list"),
    "a dimension that is true": (shaped("[true,2]"), "shape is not a list"),
    "a dimension that is text": (shaped('["2"]'), "shape is not a list"),
    "nine dimensions": (shaped("[2,1,1,1,1,1,1,1,1]"), "at most 8"),
    "a negative dimension": (shaped("[-2]"), "not between 0 and 2^63"),
    "minus zero": (shaped("[-0]", 0), "not between 0 and 2^63"),
    "a dimension of 2.0": (shaped("[2.0]"), "not a whole one"),
    "a dimension of 2e0": (shaped("[2e0]"), "not a whole one"),
    "a dimension of NaN": (shaped("[NaN]"), "not a whole one"),
    "a dimension of infinity": (shaped("[-Infinity]"), "not a whole one"),
    "a dimension of 2^63": (shaped("[9223372036854775808]"), "not between 0 and 2^63"),
    "a dimension of 10,000 digits": (shaped("[" + "1" * 10_000 + "]"), "not between 0 and 2^63"),
    "a product that wraps to the right size": (shaped("[4611686018427387905,4,2]", 32), "overflows"),
    "a product past a zero that overflows": (shaped("[0,4611686018427387904]", 0), "overflows"),
    # offsets
    "one offset": (placed("[8]"), "not a pair"),
    "three offsets": (placed("[0,8,8]"), "not a pair"),
    "an offset that is text": (placed('["0",8]'), "not a pair"),
    "an offset that is false": (placed("[false,8]"), "not a pair"),
    "offsets that are an object": (placed("{}"), "not a pair"),
    "a negative offset": (placed("[-8,0]"), "not between 0 and 2^63"),
    "an end before the start": (placed("[8,0]"), "ends before it starts"),
    "too few bytes for the shape": (one(end=4, data_bytes=4), "not what its shape"),
    "too many bytes for the shape": (one(end=12, data_bytes=12), "not what its shape"),
    "bits that are no whole bytes": (one(dtype="F4", shape=(3,), end=1, data_bytes=1), "not what its shape"),
    # the cover
    "an end past the file": (one(data_bytes=4), "the file has"),
    "bytes behind the last tensor": (one(data_bytes=9), "the file has"),
    "no tensors and yet data": (file_of({}, 1), "the file has"),
    "a first tensor that starts late": (one(start=1, end=9, data_bytes=9), "a hole before byte 1"),
    "a hole": (file_of({"a": tensor(), "b": tensor(start=9, end=17)}, 17), "a hole before byte 9"),
    "an overlap": (file_of({"a": tensor(), "b": tensor(start=4, end=12)}, 12), "an overlap at byte 4"),
    "the same bytes twice": (file_of({"a": tensor(), "b": tensor()}, 8), "an overlap at byte 0"),
    "an empty tensor inside another": (file_of({"a": tensor(), "b": tensor(shape=[0], start=4, end=4)}, 8), "overlap at byte 4"),
    "too many tensors": (
        file_of({f"{i:x}": tensor("U8", (0,), 0, 0) for i in range(MAX_TENSORS + 1)}, 0),
        "more than 100000",
    ),
    # metadata
    "metadata that is null": (file_of('{"__metadata__":null,' + A + "}", 8), "not an object"),
    "metadata that is text": (file_of('{"__metadata__":"x",' + A + "}", 8), "not an object"),
    "a metadata value that is a number": (file_of('{"__metadata__":{"k":1},' + A + "}", 8), "'k' is not text"),
    "a metadata value that is an object": (file_of('{"__metadata__":{"k":{}},' + A + "}", 8), "'k' is not text"),
    "a lone surrogate in metadata": (file_of(r'{"__metadata__":{"k":"\udc80"},' + A + "}", 8), "lone surrogate"),
    "a megabyte of metadata": (file_of({"__metadata__": {"k": "v" * 1_000_000}, "a": tensor()}, 8), "more than 1000000"),
}

VALID: dict[str, bytes] = {
    "no tensors": file_of({}, 0),
    "only metadata": file_of({"__metadata__": {"format": "pt"}}, 0),
    "a scalar": one(shape=(), end=4, data_bytes=4),
    "an empty tensor": one(shape=(0, 3), end=0, data_bytes=0),
    "an empty tensor at the end": file_of({"a": tensor(), "b": tensor(shape=[0], start=8, end=8)}, 8),
    "spaces as padding": file_of("{" + A + "}      ", 8),
    "fields in another order": file_of('{"a":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}}', 8),
    "tensors in another order than their bytes": file_of({"b": tensor(start=8, end=16), "a": tensor()}, 16),
    "a name of 1,024 bytes": one("n" * 1024),
    "a name with an emoji as a surrogate pair": file_of("{" + A.replace('"a"', r'"\ud83d\ude00"') + "}", 8),
    "eight dimensions": one(shape=(2, 1, 1, 1, 1, 1, 1, 1)),
}


@pytest.mark.parametrize("rule", MALFORMED)
def test_a_header_is_refused_with_its_rule_for(rule: str) -> None:
    raw, said = MALFORMED[rule]
    with pytest.raises(InvalidSafetensors) as caught:
        parse_header(raw, len(raw))
    assert said in caught.value.cause
    assert caught.value.next_step


def read_by_library(raw: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for name, t in safetensors.deserialize(raw)}


def read_by_us(raw: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    header = parse_header(raw, len(raw))
    return {name: (t.dtype, t.shape, raw[t.start : t.end]) for name, t in header.tensors.items()}


@pytest.mark.parametrize("what", VALID)
def test_a_valid_header_is_read_as_the_library_reads_it_with(what: str) -> None:
    assert read_by_us(VALID[what]) == read_by_library(VALID[what])


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_the_library_accepts_the_size_we_ask_for_of_dtype(dtype: str) -> None:
    raw = one(dtype=dtype, shape=(8,), end=DTYPE_BITS[dtype], data_bytes=DTYPE_BITS[dtype])
    assert read_by_us(raw) == read_by_library(raw)


def test_a_header_of_3000_tensors_is_read_from_a_prefix_alone() -> None:
    raw = file_of({f"layer.{i}": tensor(start=8 * i, end=8 * i + 8) for i in range(3000)}, 0)
    size = len(raw) + 24_000
    needed = header_bytes(raw[:8], size)
    header = parse_header(memoryview(raw)[:needed], size)
    assert header.data_start == needed == len(raw)
    assert max(t.end for t in header.tensors.values()) == size


def test_a_prefix_that_is_cut_is_refused() -> None:
    raw = one()
    with pytest.raises(InvalidSafetensors, match="only 20 of them"):
        parse_header(raw[:20], len(raw))


def test_the_limit_on_the_header_can_be_set() -> None:
    raw = one()
    with pytest.raises(InvalidSafetensors, match="more than the 10 that"):
        header_bytes(raw[:8], len(raw), limit_bytes=10)


def test_a_hostile_name_reaches_a_message_only_escaped_and_short() -> None:
    raw = one("\x1b[31m\n" + "e" * 500, dtype="F128")
    with pytest.raises(InvalidSafetensors) as caught:
        parse_header(raw, len(raw))
    assert str(caught.value).isascii() and "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(lambda name: name != "__metadata__")
DTYPES = ["float32", "float16", "int8", "uint8", "int64", "float64", "bool", "uint16", "complex64"]


@given(
    arrays=st.dictionaries(NAMES, st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4)), max_size=8),
    metadata=st.none()
    | st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=10),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=10),
        max_size=3,
    ),
)
@settings(deadline=None)
def test_whatever_the_library_writes_is_accepted_and_read_alike(
    arrays: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    assume(arrays or metadata is None)  # safetensors 0.8 then writes '{},"__metadata__":{}}', which it refuses itself
    raw = safetensors.numpy.save({name: numpy.ones(shape, dtype) for name, (dtype, shape) in arrays.items()}, metadata)
    assert read_by_us(raw) == read_by_library(raw)
    assert parse_header(raw, len(raw)).metadata == metadata


NEAR_NUMBERS = st.integers(-1, 20) | st.sampled_from([True, None, 1.0, "1", 1 << 62, 1 << 63, (1 << 64) + 8])
NEAR_TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPE_BITS, "F128", "", None]),
        "shape": st.lists(NEAR_NUMBERS, max_size=10),
        "data_offsets": st.lists(NEAR_NUMBERS, min_size=1, max_size=3),
    },
    optional={"x": st.none()},
)


@given(
    header=st.dictionaries(
        st.text(max_size=5) | st.just("__metadata__"), NEAR_TENSORS | st.dictionaries(st.text(max_size=2), st.text(max_size=2)), max_size=3
    ),
    data_bytes=st.integers(0, 20),
    padding=st.sampled_from(["", " ", "\n", "\0"]),
)
@settings(deadline=None, max_examples=300)
def test_whatever_we_accept_the_library_accepts_and_reads_alike(header: dict[str, Any], data_bytes: int, padding: str) -> None:
    raw = file_of(json.dumps(header) + padding, data_bytes)
    try:
        ours = read_by_us(raw)
    except InvalidSafetensors as error:
        assert error.cause
        return
    assert ours == read_by_library(raw)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_valid_file_with_some_bytes_changed_is_refused_or_read_alike(data: st.DataObject) -> None:
    raw = bytearray(
        file_of({"__metadata__": {"k": "v"}, "a": tensor(), "b": tensor("U8", (0, 2), 8, 8), "c": tensor("I16", (2, 1), 8, 12)}, 12)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 13))] = data.draw(st.sampled_from(list(b'0123456789"{}[],:. -eE\\untrFIU\x00\xff')))
    try:
        ours = read_by_us(bytes(raw))
    except InvalidSafetensors as error:
        assert error.cause
        return
    assert ours == read_by_library(bytes(raw))


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (one()[:16], "safetensors"),
        ((0x280).to_bytes(8, "little") + b'{"a":', "safetensors"),  # a length whose bytes are 80 02
        (b"PK\x03\x04" + bytes(12), "zip"),
        *((pickle.dumps(["weights"] * 9, protocol)[:16], "pickle") for protocol in (2, 3, 4, 5)),
        (b"GGUF\x03\x00\x00\x00", "gguf"),
        (b"<html>", "unknown"),
        (b"", "unknown"),
        (b"cos\nsystem\n(S'x'\ntR.", "unknown"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(first: bytes, kind: str) -> None:
    assert kind_of(first) == kind
    assert looks_like_pickle(first) == (kind in ("zip", "pickle"))
