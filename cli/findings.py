"""What a check found: one value a row, for the table and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..storage.errors import ModelStreamError

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
"""as it should be; worth knowing; it works and should be looked at; it does not work"""


@dataclass(frozen=True, slots=True)
class Finding:
    """part: "configuration", an origin's name, "machine", "ComfyUI"; value: the figure behind ``found``, for JSON"""

    part: str
    check: str
    status: str
    found: str
    next_step: str = ""
    value: Any = None


def failed(part: str, check: str, error: ModelStreamError, status: str = ERROR) -> Finding:
    found = f"{error.problem} ({error.cause})" if error.cause else error.problem
    if error.subject and error.subject != part:
        found = f"{error.subject}: {found}"
    return Finding(part, check, status, found, error.next_step, error.code)
