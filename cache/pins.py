"""What the user wants kept: by origin and key, so that a new version stays pinned.  Persisted; honoured by every tier here.

A pin is this ComfyUI's own: another process that shares the SSD does not know it, and may evict the entry there.
"""

from __future__ import annotations

import threading

from ..storage.objects import RemoteObject
from .operations import Pin
from .state_file import StateFile

MAX_PINS = 10_000


class Pins:
    """Thread-safe; `holds` takes no lock."""

    def __init__(self, file: StateFile | None = None) -> None:
        self._file = file or StateFile(None)
        self._lock = threading.Lock()
        self._pins = frozenset(_read(self._file.read()))

    @property
    def none(self) -> bool:
        return not self._pins

    def holds(self, obj: RemoteObject) -> bool:
        return Pin(obj.origin, obj.id.key) in self._pins

    def holds_key(self, origin: str, key: str) -> bool:
        return Pin(origin, key) in self._pins

    def all(self) -> tuple[Pin, ...]:
        """Sorted by name."""
        return tuple(sorted(self._pins, key=lambda pin: (pin.origin, pin.key)))

    def add(self, pin: Pin) -> bool:
        """False when it was pinned already.  Raises OSError when it cannot be saved, and then it is not pinned."""
        return self._change(self._pins | {pin})

    def remove(self, pin: Pin) -> bool:
        """False when it was not pinned.  Raises OSError like `add`."""
        return self._change(self._pins - {pin}, taken=pin)

    def _change(self, wanted: frozenset[Pin], taken: Pin | None = None) -> bool:
        with self._lock:
            wanted = (self._pins | wanted) - ({taken} if taken else set())
            if wanted == self._pins or len(wanted) > MAX_PINS:
                return False
            self._file.write([[pin.origin, pin.key] for pin in wanted])
            self._pins = wanted
            return True


def _read(content: object) -> list[Pin]:
    """What is damaged is forgotten: a lost pin costs seconds."""
    rows = content if isinstance(content, list) else []
    return [Pin(*row) for row in rows if isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) for part in row)]
