"""The journal of a partial: one line a chunk that was written, "index crc64 length".  Only ever a claim."""

from __future__ import annotations

import re

from .chunks import ChunkTally
from .disk_read import Chunk

LINES_A_CHUNK_MAX = 4
"""a chunk is journalled again when its bytes were replaced"""
LINE_BYTES_MAX = 64

_LINE = re.compile(rb"(\d{1,9}) ([0-9a-f]{16}) (\d{1,9})\n")


def journal_line(index: int, crc64: int, length: int) -> bytes:
    return b"%d %016x %d\n" % (index, crc64, length)


def journal_bytes_max(chunks: int) -> int:
    return LINE_BYTES_MAX * LINES_A_CHUNK_MAX * (chunks + 1)


def claims(content: bytes, tally: ChunkTally) -> list[Chunk]:
    """Those that can be true.  The last one of a chunk counts; a torn line is none."""
    found = {}
    for line in content.splitlines(keepends=True):
        match = _LINE.fullmatch(line)
        if match and int(match[1]) < tally.count:
            start, end = tally.bounds(int(match[1]))
            if end - start == int(match[3]):
                found[int(match[1])] = Chunk(int(match[1]), start, end - start, int(match[2], 16))
    return list(found.values())
