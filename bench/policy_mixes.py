"""Synthetic request streams for ``bench policy``: people in sessions over workflows, made here from a seed.

Nothing in them comes from a recorded trace.  A workflow is a checkpoint with 0-3 LoRAs and sometimes a VAE, a
ControlNet or text encoders; a session stays on one workflow, alternates two, or sweeps LoRAs over one checkpoint.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

DAY_S = 86400.0

# (GB, weight): sizes of widely used public files, by kind.
SIZES_GB: Mapping[str, Sequence[tuple[float, float]]] = {
    "checkpoint": ((1.99, 3), (2.13, 30), (4.27, 6), (6.46, 8), (6.94, 38), (11.9, 6), (17.2, 3), (23.8, 6)),
    "lora": ((0.0096, 4), (0.038, 12), (0.076, 14), (0.144, 22), (0.151, 10), (0.228, 16), (0.340, 8), (0.456, 8), (0.685, 6)),
    "vae": ((0.167, 2), (0.335, 5)),
    "controlnet": ((0.72, 3), (1.45, 4), (2.5, 3), (5.0, 1)),
    "encoder": ((0.246, 3), (1.39, 2), (4.89, 2), (9.79, 1)),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt: when it came (seconds) and the files it needs, in loading order.  A file is named "kind:code"."""

    time_s: float
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """A kind of use.  Rates and lengths are means.

    users:        work at the same time, each in sessions of his own
    zipf:         exponent of the workflows' popularity; 0: all alike
    session:      prompts in a session
    drift:        share of the workflows replaced by new ones each day
    alternate:    share of the sessions that go back and forth between two workflows
    sweep:        share of the sessions in which every prompt tries other LoRAs
    nightly_scan: once a day a job runs every checkpoint once
    fresh:        chance that a session uses a workflow nobody has used before
    """

    name: str
    users: int = 8
    workflows: int = 150
    checkpoints: int = 60
    loras: int = 300
    zipf: float = 1.0
    session: float = 12
    drift: float = 0.0
    alternate: float = 0.0
    sweep: float = 0.0
    nightly_scan: bool = False
    fresh: float = 0.0
    requests: int = 12_000


MIXES = (
    Mix("sessions"),
    Mix("one user", users=1, workflows=60, session=15, requests=6_000),
    Mix("drift", drift=0.25),
    Mix("alternate", alternate=0.8, session=20),
    Mix("lora sweep", sweep=0.7, session=25),
    Mix("nightly scan", nightly_scan=True),
    Mix("fresh models", users=3, fresh=0.5, workflows=40, zipf=0.6),
    Mix("all alike", zipf=0.0, workflows=60),
    Mix("everything", drift=0.1, alternate=0.3, sweep=0.2, nightly_scan=True, fresh=0.1),
)


def stream(mix: Mix, seed: int) -> tuple[Request, ...]:
    """The mix's requests in order of time; the same for the same seed."""
    return tuple(itertools.islice(_Stream(mix, random.Random(f"{mix.name}/{seed}")).requests(), mix.requests))


def sizes(files: Sequence[str], seed: int) -> dict[str, float]:
    """A size in bytes for each file, drawn from SIZES_GB by kind."""
    draw = random.Random(seed)
    drawn = {}
    for file in sorted(files):
        table = SIZES_GB[file.partition(":")[0]]
        drawn[file] = draw.choices([gb for gb, _ in table], [weight for _, weight in table])[0] * 1e9
    return drawn


class _Stream:
    def __init__(self, mix: Mix, draw: random.Random) -> None:
        self.mix = mix
        self.draw = draw
        self.made = 0
        self.workflows = [self.workflow() for _ in range(mix.workflows)]
        self.popularity = list(itertools.accumulate((rank + 1) ** -mix.zipf for rank in range(mix.workflows)))

    def workflow(self) -> tuple[str, ...]:
        draw, mix = self.draw, self.mix
        self.made += 1
        newest = mix.checkpoints + (self.made - mix.workflows if self.made > mix.workflows else 0)
        # what comes later also brings checkpoints that were not there before
        code = newest if newest > mix.checkpoints and draw.random() < 0.7 else min(int(draw.expovariate(3 / mix.checkpoints)), newest)
        files = [f"checkpoint:{code}"]
        files += [f"lora:{draw.randrange(mix.loras)}" for _ in range(draw.choice((0, 0, 1, 1, 2, 3)))]
        if draw.random() < 0.4:
            files.append(f"vae:{draw.randrange(6)}")
        if draw.random() < 0.3:
            files.append(f"controlnet:{draw.randrange(12)}")
        if draw.random() < 0.2:
            files += [f"encoder:{draw.randrange(3)}", f"encoder:{3 + draw.randrange(3)}"]
        return tuple(dict.fromkeys(files))

    def choice(self) -> tuple[str, ...]:
        if self.draw.random() < self.mix.fresh:
            return self.workflow()
        return self.workflows[bisect.bisect(self.popularity, self.draw.random() * self.popularity[-1])]

    def session(self) -> Iterator[tuple[str, ...]]:
        draw, mix = self.draw, self.mix
        length = 1 + int(draw.expovariate(1 / mix.session))
        kind = draw.random()
        first = self.choice()
        if kind < mix.alternate:
            pair = (first, self.choice())
            yield from (pair[turn // 2 % 2] for turn in range(length))
        elif kind < mix.alternate + mix.sweep:
            rest = tuple(file for file in first if not file.startswith("lora:"))
            at = draw.randrange(mix.loras)
            yield from ((*rest, f"lora:{(at + turn) % mix.loras}") for turn in range(length))
        else:
            yield from itertools.repeat(first, length)

    def requests(self) -> Iterator[Request]:
        """The users' sessions merged: whoever is next in time."""
        draw, mix = self.draw, self.mix
        due = [(draw.expovariate(1 / 3600.0), user) for user in range(mix.users)]
        open_sessions: list[Iterator[tuple[str, ...]]] = [iter(()) for _ in due]
        day = 0
        while True:
            now_s, user = min(due)
            if now_s >= (day + 1) * DAY_S:
                day += 1
                yield from self.night(day)
            files = next(open_sessions[user], None)
            if files is None:
                open_sessions[user] = self.session()
                due[user] = (now_s + self.pause(now_s), user)
                continue
            due[user] = (now_s + draw.expovariate(1 / 70.0) + 5, user)
            yield Request(now_s, files)

    def night(self, day: int) -> Iterator[Request]:
        for _ in range(round(self.mix.drift * self.mix.workflows)):
            self.workflows[self.draw.randrange(self.mix.workflows)] = self.workflow()
        if self.mix.nightly_scan:
            for code in range(self.mix.checkpoints):
                yield Request(day * DAY_S + code * 1e-3, (f"checkpoint:{code}",))

    def pause(self, now_s: float) -> float:
        """Between two sessions of one user: twenty minutes by day, ten times that by night."""
        by_day = 0.5 - 0.5 * math.cos(2 * math.pi * now_s / DAY_S)
        return self.draw.expovariate(1 / 1200.0) / (0.1 + 0.9 * by_day)
