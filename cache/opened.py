"""What a caller gets from the cache: an open object, leased until it is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from .tensors import state_dict


@dataclass(slots=True)
class Opened:
    """Figures of one load.

    source:     "ram", "ssd" or "bucket": the farthest tier the bytes came from
    wire_bytes: bytes that crossed the network for this load; 0 for whoever joined a load that was under way
    seconds:    from the call to the bytes being usable
    """

    obj: RemoteObject
    source: str
    size_bytes: int
    wire_bytes: int
    seconds: float
    _release: Callable[[], None] = field(repr=False)
    _closed: bool = field(default=False, repr=False)

    def close(self) -> None:
        """Gives the lease back.  Tensors made before stay valid: they hold the memory themselves."""
        if not self._closed:
            self._closed = True
            self._release()


@dataclass(slots=True)
class OpenTensors(Opened):
    """A safetensors object in memory."""

    header: SafetensorsHeader | None = None
    buffer: Any = None

    def state_dict(self, device: str = "cpu") -> dict[str, Any]:
        """A fresh dict of tensors, one own storage a tensor.  No byte is copied for ``device="cpu"``."""
        assert self.header is not None
        return state_dict(self.header, self.buffer, device)

    @property
    def metadata(self) -> dict[str, str] | None:
        """A fresh dict: ComfyUI takes keys out of it."""
        assert self.header is not None
        return None if self.header.metadata is None else dict(self.header.metadata)

    def __enter__(self) -> OpenTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class OpenFile(Opened):
    """A real, complete file on the SSD, not evicted while it is open."""

    path: str = ""

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
