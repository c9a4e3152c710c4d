"""Safetensors files made by hand: valid, of any size, the same in every run."""

from __future__ import annotations

import hashlib
import json
import struct


def safetensors_bytes(name: str, size_bytes: int) -> bytes:
    """A valid file of about ``size_bytes``: one tensor of bytes and one of halves, different for every name."""
    payload = hashlib.shake_128(name.encode()).digest(size_bytes & ~7)
    split = len(payload) // 2 & ~7
    header = {
        "__metadata__": {"name": name},
        "bytes": {"dtype": "U8", "shape": [split], "data_offsets": [0, split]},
        "halves": {"dtype": "F16", "shape": [(len(payload) - split) // 2], "data_offsets": [split, len(payload)]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + payload
