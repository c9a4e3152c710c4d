"""Events of what is written into buckets, by nodes and by the panel.  The command line has nobody who would listen."""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ObjectPublished(Event):
    """how: "uploaded", "resumed", "copied" or "unchanged"; verified: what the read-back compared, "" for nothing"""

    subject: str
    size_bytes: int
    wire_bytes: int
    seconds: float
    how: str
    verified: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PublishFailed(Event):
    """code: of the error, safe as a label"""

    subject: str
    code: str
    message: str
