"""What the user wants kept: by origin and key, so that a new version stays pinned.  Persisted; honoured by every tier here.

A pin belongs to a state folder: processes that share one (ComfyUI and the command line beside it) see each other's pins;
another ComfyUI that shares only the SSD does not, and may evict the entry there.
"""

from __future__ import annotations

import threading
import time

from ..storage.objects import RemoteObject
from .operations import Pin
from .state_file import StateFile

MAX_PINS = 10_000
LOOK_S = 1.0
"""how old an answer of `holds` may be, which is asked for each entry of a tier"""

_UNREAD = (0, 0, 0)
"""the stamp of no file: the next look reads it"""


class Pins:
    """Thread-safe; takes a lock only where the file has changed.  `all` and `none` look at the file each time (one stat)."""

    def __init__(self, file: StateFile | None = None) -> None:
        self._file = file or StateFile(None)
        self._lock = threading.Lock()
        self._stamp = self._file.stamp()
        self._looked_s = time.monotonic()
        self._pins = frozenset(_read(self._file.read()))

    @property
    def none(self) -> bool:
        self._look()
        return not self._pins

    def holds(self, obj: RemoteObject) -> bool:
        return self.holds_key(obj.origin, obj.id.key)

    def holds_key(self, origin: str, key: str) -> bool:
        self._look(LOOK_S)
        return Pin(origin, key) in self._pins

    def all(self) -> tuple[Pin, ...]:
        """Sorted by name."""
        self._look()
        return tuple(sorted(self._pins, key=lambda pin: (pin.origin, pin.key)))

    def add(self, pin: Pin) -> bool:
        """False when it was pinned already.  Raises OSError when it cannot be saved, and then it is not pinned."""
        return self._change(added=frozenset({pin}))

    def remove(self, pin: Pin) -> bool:
        """False when it was not pinned.  Raises OSError like `add`."""
        return self._change(taken=frozenset({pin}))

    def _change(self, added: frozenset[Pin] = frozenset(), taken: frozenset[Pin] = frozenset()) -> bool:
        with self._lock:
            self._read_changed()
            wanted = (self._pins | added) - taken
            if wanted == self._pins or len(wanted) > MAX_PINS:
                return False
            self._file.write([[pin.origin, pin.key] for pin in wanted])
            self._pins = wanted
            self._stamp = _UNREAD
            return True

    def _look(self, every_s: float = 0.0) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < every_s:
            return
        self._looked_s = now_s
        if self._file.stamp() != self._stamp:
            with self._lock:
                self._read_changed()

    def _read_changed(self) -> None:
        """With the lock held: what another process has written meanwhile.  The stamp first, so that nothing is missed."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._pins = frozenset(_read(self._file.read()))


def _read(content: object) -> list[Pin]:
    """What is damaged is forgotten: a lost pin costs seconds."""
    rows = content if isinstance(content, list) else []
    return [Pin(*row) for row in rows if isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) for part in row)]
