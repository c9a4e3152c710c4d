"""The last prompts on disk: one line of JSON each, appended, made anew when there are twice too many.  No pickle.

A prompt is digests, sizes and folders, a number for the stream and a time: no name, no key, no prompt text.  It is a
memory of habits: a line that cannot be read is skipped, a file that cannot be read is empty.  One thread.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from pathlib import Path
from typing import Any

from .predict_experts import Use, UsedFile

FORMAT = 1
MAX_PROMPTS = 50_000
_LINE_BYTES = 16_000
_FILES = 64
_TEXT = 128


class LogUnusable(Exception):
    """The file cannot be read or written.  The message holds no path."""


class UseLog:
    """``path``: its folder is made, 0700, with the first line; nothing is written before."""

    def __init__(self, path: Path, max_prompts: int = MAX_PROMPTS) -> None:
        self._path = path
        self._max_prompts = max_prompts
        self._lines = 0

    def load(self, now_s: float) -> tuple[Use, ...]:
        """What can be read, oldest first, at most ``max_prompts``.  A time after ``now_s`` counts as now."""
        kept: deque[Use] = deque(maxlen=self._max_prompts)
        self._lines = 0
        try:
            with self._path.open("rb") as file:
                for line in iter(lambda: file.readline(_LINE_BYTES), b""):
                    self._lines += 1
                    use = _decode(line, now_s)
                    if use is not None:
                        kept.append(use)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LogUnusable(f"the history of prompts cannot be read ({type(error).__name__})") from None
        return tuple(kept)

    def append(self, use: Use) -> None:
        line = _encode(use)
        if len(line) >= _LINE_BYTES:
            return
        try:
            if self._lines >= 2 * self._max_prompts:
                self._shorten(use.at_s)
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(line)
            self._lines += 1
        except OSError as error:
            raise LogUnusable(f"the history of prompts cannot be written ({type(error).__name__})") from None

    def _shorten(self, now_s: float) -> None:
        uses = self.load(now_s)
        fresh = self._path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(_encode(use) for use in uses)
        fresh.replace(self._path)
        self._lines = len(uses)


def _encode(use: Use) -> bytes:
    files = [[file.digest, file.size_bytes, file.folder] for file in use.files[:_FILES]]
    return json.dumps([FORMAT, round(use.at_s, 1), use.stream, files], separators=(",", ":")).encode() + b"\n"


def _decode(line: bytes, now_s: float) -> Use | None:
    """None for anything that is not exactly what `_encode` writes."""
    try:
        form, at_s, stream, files = json.loads(line)
        use = Use(min(float(at_s), now_s), tuple(_file(*file) for file in files), _text(stream))
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    good = form == FORMAT and math.isfinite(use.at_s) and use.at_s >= 0 and 0 < len(use.files) <= _FILES
    return use if good else None


def _file(digest: Any, size_bytes: Any, folder: Any) -> UsedFile:
    if type(size_bytes) is not int or not 0 <= size_bytes < 1 << 62:
        raise ValueError("no size")
    return UsedFile(_text(digest), size_bytes, _text(folder))


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _TEXT:
        raise ValueError("not a short text")
    return value
