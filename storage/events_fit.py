"""Events of fitting models into memory: which variant was taken, and each step that was gone before out of memory."""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class VariantChosen(Event):
    """Of files that are one model in several precisions, the one that is loaded.

    rule: a node's, or "smaller" where the owner allowed that; form: its format; why: for people
    """

    folder: str
    asked: str
    chosen: str
    rule: str
    form: str
    why: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MemoryStep(Event):
    """What was done because a device had not the memory that was wanted; the steps in the order in which they are gone.

    step:         "leave" (warm models left), "partial" (ComfyUI keeps a part in host memory), "smaller" (a variant of fewer bits, only
                  where the owner allowed it) or "failed" (an error, which says what would help)
    subject:      the model that wanted memory, as far as it is known
    needed_bytes: what was wanted; free_bytes: what was there before; won_bytes: what the step made or spared
    why:          for people: who left, what stays behind, what was taken instead
    """

    step: str
    device: str
    subject: str
    needed_bytes: int
    free_bytes: int
    won_bytes: int
    why: str
