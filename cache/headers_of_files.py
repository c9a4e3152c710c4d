"""The header of a local safetensors or GGUF file."""

from __future__ import annotations

import os

from ..storage.gguf_header import parse_gguf
from ..storage.safetensors_header import SafetensorsHeader, header_bytes, parse_header


def read_header(path: str) -> SafetensorsHeader:
    """Raises InvalidSafetensors and OSError."""
    with open(path, "rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if path.lower().endswith(".gguf"):

            def read_at(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            return parse_gguf(read_at, size_bytes)
        first = file.read(8)
        return parse_header(first + file.read(header_bytes(first, size_bytes) - 8), size_bytes)
