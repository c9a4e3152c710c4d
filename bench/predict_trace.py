"""Recorded prompts with their person and their time on the device, and what is drawn for them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelstream.cache.predict import Use, UsedFile

from .policy_mixes import Request

NOT_COMPUTING_S = 8.0
"""of the recorded seconds of execution: loading and the rest, by the trace's own medians"""


@dataclass(frozen=True, slots=True)
class Prompt:
    at_s: float
    user: str
    files: tuple[str, ...]
    compute_s: float = 15.0


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The dated rows: only they have a person.  In order of arrival."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["t_s"]]
    if not rows or "group" not in rows[0]:
        raise ValueError(f"{path.name} has no row with a time (t_s) and a person (group): nothing would be measured")
    prompts = []
    for row in rows:
        loras = dict.fromkeys(f"lora:{code}" for code in row["loras"].split(";") if code)
        compute_s = max(float(row.get("exec_s") or 0) - NOT_COMPUTING_S, 1.0)
        prompts.append(Prompt(float(row["t_s"]), row["group"], (f"checkpoint:{row['base']}", *loras), compute_s))
    return tuple(sorted(prompts, key=lambda prompt: prompt.at_s))


def of_one_person(requests: Iterable[Request]) -> tuple[Prompt, ...]:
    return tuple(Prompt(request.time_s, "", request.files) for request in requests)


def uses_of(prompts: Sequence[Prompt], sizes: Mapping[str, float]) -> tuple[Use, ...]:
    """As the product is told of them."""
    return tuple(Use(p.at_s, tuple(UsedFile(file, int(sizes[file]), file.partition(":")[0]) for file in p.files), p.user) for p in prompts)
