"""A small JSON file of ours in the state folder: written whole by a rename, 0600, read strictly."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

MAX_BYTES = 8 << 20


class StateFile:
    """Thread-safe.  ``path`` None: nothing is read or written, what is saved lives as long as the process."""

    def __init__(self, path: Path | None, form: int = 1) -> None:
        self._path = path
        self._form = form
        self._lock = threading.Lock()

    def read(self) -> Any:
        """What was written; None where there is nothing, or nothing of this form."""
        if self._path is None:
            return None
        try:
            with open(self._path, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
            document = json.loads(raw) if len(raw) <= MAX_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None
        return document.get("content") if isinstance(document, dict) and document.get("form") == self._form else None

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes when anybody has written the file (each write is a new file); None where there is none."""
        if self._path is None:
            return None
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def write(self, content: Any) -> None:
        """Durable when it returns.  Raises OSError."""
        if self._path is None:
            return
        raw = json.dumps({"form": self._form, "content": content}, separators=(",", ":")).encode()
        with self._lock:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            passing = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
            fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(fd)
            os.replace(passing, self._path)
