"""``bench near``: three workers want six models from a bucket behind a slow link, with and without a near origin.

The far server stands behind a link of 500 Mbit/s (a network namespace and ``tbf``), the near one on loopback.  Every worker is a
process with RAM and SSD of its own.  What crossed the link is counted twice: by the workers, body bytes by origin, and by the link's
own counter.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cold import common
from .jobs import Job, Target
from .link import Link, NoLink, throttled
from .objects import Bucket, synthetic
from .processes import ROOT, say, start_worker
from .report import Check, Column, Report, Row, at_most, median
from .share import answer_of, end

COLUMNS = (
    Column("seconds", "seconds"),
    Column("one worker", "worker_s"),
    Column("from far", "far_times", ".3f"),
    Column("on link", "link_times", ".3f"),
    Column("right", "right", ".0f"),
)
RATE_MBIT = 500
WORKERS, MODELS = 3, 6
SIZE_MB, QUICK_MB = 150, 40
REPETITIONS = 3
SITUATIONS = ("spread", "herd")
"""each worker begins with other models; all ask for the same ones in the same order at the same moment"""


@dataclass(frozen=True)
class Case:
    situation: str
    near: bool

    @property
    def setting(self) -> str:
        return "near origin" if self.near else "far origin only"


CASES = tuple(Case(situation, near) for situation in SITUATIONS for near in (False, True))


@dataclass
class Bench:
    report: Report
    scratch: Path
    far: Any
    near: Any
    link: Link
    targets: tuple[Target, ...]
    fresh: int = field(default=0)

    def run(self, case: Case, repetition: int) -> None:
        directory = Path(tempfile.mkdtemp(prefix="fleet-", dir=self.scratch))
        self.fresh += 1
        workers: list[subprocess.Popen[str]] = []
        try:
            for number in range(WORKERS):
                workers.append(self.start(case, directory, number))  # noqa: PERF401  what was started is ended whatever happens
            for worker in workers:
                answer_of(worker)
            before = self.link.received_bytes()
            began_s = time.monotonic()
            for worker in workers:
                say(worker, "go")
            loaded = [answer_of(worker) for worker in workers]
            on_link = self.link.received_bytes() - before
            for worker in workers:
                say(worker, "end")
            row = self.row([*loaded], [answer_of(worker) for worker in workers], began_s, on_link)
        except (OSError, ValueError, IndexError, KeyError) as error:
            row = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for worker in workers:
                end(worker)
            shutil.rmtree(directory, ignore_errors=True)
        self.report.add({"situation": case.situation, "client": "Model Stream", "setting": case.setting, "repetition": repetition, **row})

    def row(self, loaded: list[dict[str, Any]], ended: list[dict[str, Any]], began_s: float, on_link: int) -> Row:
        """far_times: bytes from the far origin in units of all models once; link_times: the same by the link's counter"""
        all_bytes = sum(target.size_bytes for target in self.targets)
        far_bytes = sum(one["bytes_from"].get("far", 0) for one in ended)
        return {
            "seconds": max(one["ended_s"] for one in loaded) - began_s,
            "worker_s": sum(one["ended_s"] - began_s for one in loaded) / len(loaded),
            "far_times": far_bytes / all_bytes,
            "link_times": on_link / all_bytes,
            "near_times": sum(one["bytes_from"].get("near", 0) for one in ended) / all_bytes,
            "copies": sum(one["copies"] for one in ended),
            "waits": sum(one["waits"] for one in ended),
            "right": all(one["right"] for one in loaded),
        }

    def start(self, case: Case, directory: Path, number: int) -> subprocess.Popen[str]:
        """Each run has a near prefix of its own: an empty near origin."""
        own = directory / str(number)
        own.mkdir()
        turn = number * MODELS // WORKERS if case.situation == "spread" else 0
        targets = (*self.targets[turn:], *self.targets[:turn])
        near = {"endpoint": self.near.endpoint, "bucket": self.near.bucket, "prefix": f"fleet{self.fresh}/"} if case.near else None
        if near is not None:
            near |= {"access_key": self.near.access_key, "secret_key": self.near.secret_key}
        far = self.far
        job = Job("near", far.endpoint, far.bucket, far.access_key, far.secret_key, targets, str(own), options={"near": near})
        return start_worker("bench.near_child", job.plain(), common(job))


def checks(report: Report) -> list[Check]:
    rows = report.rows

    def of(situation: str, near: bool, name: str) -> float | None:
        return median([r for r in rows if r["situation"] == situation and r["setting"] == Case(situation, near).setting], name)

    found: list[Check] = []
    for situation in SITUATIONS:
        without, with_near = of(situation, False, "seconds"), of(situation, True, "seconds")
        found.append(at_most(f"{situation}: bytes from far / each model once", of(situation, True, "far_times"), 1.0))
        found.append(at_most(f"{situation}: the same on the link, headers included", of(situation, True, "link_times"), 1.03))
        ratio = with_near / without if with_near and without else None
        found.append(at_most(f"{situation}: time / time without a near origin", ratio, 0.6))
    ran = [row for row in rows if not row.get("error")]
    wrong = sum(not row["right"] for row in ran)
    found.append(Check("runs with wrong bytes", wrong, "== 0", bool(ran) and wrong == 0))
    return found


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.seaweed import Seaweed

    size_mb = QUICK_MB if quick else SIZE_MB
    folder = ROOT / ".venv" / "models" / "bench"
    files = [synthetic(folder / f"near{size_mb}-{n}.safetensors", size_mb * 10**6, 1000 * size_mb + n) for n in range(MODELS)]
    with ExitStack() as opened:
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv")))
        try:
            link = opened.enter_context(throttled(RATE_MBIT))
        except NoLink as reason:
            report.note(f"not measured: {reason}")
            return report.finish(checks(report))
        flags = (f"-ip={link.address}", f"-ip.bind={link.address}")
        far = Seaweed(memory_limit_mib=None, prefix=link.prefix, extra=flags)
        far.host = link.address
        opened.enter_context(far)
        near = opened.enter_context(Seaweed(memory_limit_mib=None))
        bucket = Bucket(far)
        targets = tuple(bucket.put(f"checkpoints/{path.name}", path) for path in files)
        bench = Bench(report, scratch, far, near, link, targets)
        done = {(r["situation"], r["setting"], r["repetition"]) for r in report.rows}
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for case in random.Random(repetition).sample(CASES, len(CASES)):
                if (case.situation, case.setting, repetition) not in done:
                    bench.run(case, repetition)
    return report.finish(checks(report))
