"""Where a transfer stands, and what a lane can do for it."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    LOOK = "looking"
    READ = "reading"
    VERIFY = "checking"
    FINISH = "finishing"
    DONE = "done"


class Do(enum.Enum):
    LOOK = enum.auto()
    WARM = enum.auto()
    READ = enum.auto()
    HEDGE = enum.auto()
    VERIFY = enum.auto()
    FINISH = enum.auto()
