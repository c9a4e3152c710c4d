"""Tensors over an object's bytes: what safetensors itself makes of them, without a copy."""

from __future__ import annotations

import gc
import json
import mmap
import weakref
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from modelstream.cache.arena import Arena
from modelstream.cache.tensors import parse_front, state_dict
from modelstream.storage.errors import InvalidSafetensors
from modelstream.storage.events import EventBus

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
]  # fmt: skip


def in_arena(raw: bytes) -> Any:
    allocation = Arena(1 << 30, EventBus()).allocate(len(raw))
    allocation.view[:] = raw
    return allocation.buffer


def opened(raw: bytes, device: str = "cpu") -> dict[str, torch.Tensor]:
    return state_dict(parse_front(memoryview(raw), "origin:key"), in_arena(raw), device)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.reshape(-1).view(torch.uint8).tolist())


def file_of(header: dict[str, Any], data: bytes, *, padding: int = 0) -> bytes:
    text = json.dumps(header).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text + data


@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=6),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**31)),
        max_size=8,
    )
)
@settings(deadline=None)
def test_the_state_dict_equals_what_safetensors_loads(drawn: dict[str, tuple[torch.dtype, list[int], int]]) -> None:
    saved = {}
    for name, (dtype, shape, seed) in drawn.items():
        generator = torch.Generator().manual_seed(seed)
        saved[name] = torch.randint(0, 2, shape, generator=generator).to(dtype)
    raw = safetensors.torch.save(saved)
    ours, theirs = opened(raw), safetensors.torch.load(raw)
    assert list(ours) == sorted(theirs)
    for name, tensor in ours.items():
        assert (tensor.dtype, tensor.shape, bits(tensor)) == (theirs[name].dtype, theirs[name].shape, bits(theirs[name]))
        assert tensor.is_contiguous() and not tensor.requires_grad
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert tensor.storage_offset() == 0


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [("F4", [2, 4], b"\x01\x23\x45\x67"), ("F8_E8M0", [4], b"\x01\x7f\x80\xfe")],
)
def test_the_newest_dtypes_come_out_as_the_librarys_reader_gives_them(tmp_path: Any, dtype: str, shape: list[int], data: bytes) -> None:
    raw = file_of({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}}, data)
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    with safe_open(path, "pt") as file:
        theirs = file.get_tensor("a")
    ours = opened(raw)["a"]
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert bits(ours) == data


@pytest.mark.parametrize(("dtype", "shape", "size"), [("F6_E2M3", [4], 3), ("F4", [2, 1], 1)])
def test_a_dtype_that_torch_cannot_hold_is_refused_by_name(dtype: str, shape: list[int], size: int) -> None:
    raw = file_of({"odd.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}, bytes(size))
    with pytest.raises(InvalidSafetensors, match=r"odd\.weight"):
        opened(raw)


def test_no_byte_is_copied_where_tensors_are_aligned() -> None:
    raw = safetensors.torch.save({"a": torch.arange(10.0), "b": torch.arange(3)})
    buffer = in_arena(raw)
    header = parse_front(memoryview(raw), "x")
    tensors = state_dict(header, buffer)
    base = torch.frombuffer(buffer, dtype=torch.uint8).data_ptr()
    assert {n: t.data_ptr() - base for n, t in tensors.items()} == {n: info.start for n, info in header.tensors.items()}


def test_a_misaligned_tensor_is_copied_and_equal() -> None:
    data = torch.arange(4.0).numpy().tobytes()
    header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "b": {"dtype": "F32", "shape": [2, 2], "data_offsets": [1, 17]}}
    for padding in range(8):
        tensors = opened(file_of(header, b"\7" + data, padding=padding))
        assert tensors["b"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
        assert tensors["a"].tolist() == [7]
        assert tensors["b"].untyped_storage().nbytes() == 16


def test_every_call_makes_a_fresh_dict_over_the_same_memory() -> None:
    raw = safetensors.torch.save({"a": torch.zeros(4)})
    buffer = in_arena(raw)
    header = parse_front(memoryview(raw), "x")
    first, second = state_dict(header, buffer), state_dict(header, buffer)
    first.pop("a")[0] = 5
    assert second["a"].tolist() == [5, 0, 0, 0]


def test_memory_is_held_until_the_last_tensor_dies() -> None:
    raw = safetensors.torch.save({"a": torch.ones(100), "b": torch.ones(100)})
    buffer = in_arena(raw)
    alive = weakref.ref(buffer)
    tensors = state_dict(parse_front(memoryview(raw), "x"), buffer)
    del buffer
    kept = tensors.pop("b").view(10, 10)[3:5].t()
    tensors.clear()
    assert alive() is not None and kept.sum() == 20
    del kept
    gc.collect()
    assert alive() is None


def test_a_parameter_made_from_a_tensor_holds_the_memory() -> None:
    raw = safetensors.torch.save({"weight": torch.eye(3), "bias": torch.zeros(3)})
    buffer = in_arena(raw)
    alive = weakref.ref(buffer)
    module = torch.nn.Linear(3, 3)
    module.load_state_dict(state_dict(parse_front(memoryview(raw), "x"), buffer), assign=True)
    del buffer
    assert alive() is not None and torch.equal(module(torch.ones(3)), torch.ones(3))
    del module
    gc.collect()
    assert alive() is None


def test_a_private_mapping_of_a_file_serves_as_buffer(tmp_path: Any) -> None:
    raw = safetensors.torch.save({"a": torch.arange(5)})
    path = tmp_path / "a"
    path.write_bytes(raw)
    with open(path, "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = state_dict(parse_front(memoryview(mapping), "x"), mapping)
    tensors["a"][0] = 9
    assert tensors["a"].tolist() == [9, 1, 2, 3, 4]
    assert path.read_bytes() == raw


def test_another_device_gets_tensors_of_its_own() -> None:
    raw = safetensors.torch.save({"a": torch.ones(2, 3, dtype=torch.float16), "e": torch.ones(0, 2)})
    tensors = opened(raw, device="meta")
    assert {name: (t.device.type, t.dtype, tuple(t.shape)) for name, t in tensors.items()} == {
        "a": ("meta", torch.float16, (2, 3)),
        "e": ("meta", torch.float32, (0, 2)),
    }


def test_a_broken_front_is_refused_with_the_objects_name() -> None:
    with pytest.raises(InvalidSafetensors, match=r"^origin:key: it is not a valid safetensors file"):
        parse_front(memoryview(b"PK\x03\x04" + bytes(100)), "origin:key")
