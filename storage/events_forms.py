"""Events about compressed forms of objects."""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FormRead(Event):
    """An object came by way of its compressed form.  stored_bytes: what crossed the network instead of ``size_bytes``"""

    subject: str
    size_bytes: int
    stored_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FormRefused(Event):
    """A compressed form was not used, and the plain object is read.

    reason: "stale" (of another version), "damaged", "failed" or "missing" (zstandard is not installed)
    """

    subject: str
    reason: str
    cause: str
