"""``bench share``: four processes with one SSD directory ask for the same object at the same moment."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cold import common
from .jobs import Job, Target
from .objects import Bucket, synthetic
from .processes import LIMIT_S, ROOT, run_module, say, start_worker
from .product import SNAPSHOT
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("first", "first_s"),
    Column("downloads", "downloads", ".2f"),
    Column("files", "files", ".0f"),
    Column("right", "right", ".0f"),
)
SIZE_MB, QUICK_MB = 1000, 200
REPETITIONS = 5
PROCESSES = 4


@dataclass(frozen=True)
class Case:
    """way: "file" (a real file on the SSD: gguf, pickles, other extensions) or "tensors" """

    way: str
    processes: int
    locks: bool = True

    @property
    def setting(self) -> str:
        return f"{self.processes} processes" + ("" if self.locks else ", no locks")


CASES = tuple(Case(way, *rest) for way in ("file", "tensors") for rest in ((1, True), (PROCESSES, True), (PROCESSES, False)))


@dataclass
class Bench:
    report: Report
    scratch: Path
    server: Any
    target: Target
    state: str = ""

    def prepare(self) -> None:
        self.state = tempfile.mkdtemp(prefix="state-", dir=self.scratch)
        job = self.job("Model Stream", self.state, {})
        answer = run_module("bench.child", {**job.plain(), "prepare": True}, environ=common(job))
        if answer.get("error"):
            self.report.note(f"the catalog could not be prepared: {answer['error']}")

    def job(self, client: str, directory: str, options: dict[str, Any], state: str = "") -> Job:
        s = self.server
        return Job(client, s.endpoint, s.bucket, s.access_key, s.secret_key, (self.target,), directory, state=state, options=options)

    def run(self, case: Case, repetition: int) -> None:
        shared = Path(tempfile.mkdtemp(prefix="shared-", dir=self.scratch))
        processes: list[subprocess.Popen[str]] = []
        try:
            for number in range(case.processes):
                processes.append(self.start(case, shared, number))  # noqa: PERF401  what was started is ended whatever happens
            for process in processes:
                answer_of(process)
            began_s = time.monotonic()
            for process in processes:
                say(process, "go")
            row = summed([answer_of(process) for process in processes], began_s, self.target.size_bytes)
            row["files"] = sum(1 for p in (shared / "ssd" / "objects").rglob("*.safetensors"))
        except (OSError, ValueError, IndexError) as error:
            row = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for process in processes:
                end(process)
            shutil.rmtree(shared, ignore_errors=True)
        self.report.add({"situation": case.way, "client": "Model Stream", "setting": case.setting, "repetition": repetition, **row})

    def start(self, case: Case, shared: Path, number: int) -> subprocess.Popen[str]:
        """Each has a directory of its own for its configuration, and the SSD directory of all."""
        own = shared / str(number)
        own.mkdir()
        options = {"way": case.way, "locks": case.locks, "ssd_directory": str(shared / "ssd")}
        job = self.job("Model Stream", str(own), options, self.state if (Path(self.state) / SNAPSHOT).exists() else "")
        return start_worker("bench.share_child", job.plain(), common(job))


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ValueError("a process ended without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer


def end(process: subprocess.Popen[str]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(LIMIT_S if process.poll() is None and process.stdin is None else 0.5)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def summed(answers: list[dict[str, Any]], began_s: float, size_bytes: int) -> Row:
    """seconds: until the last one had it; downloads: bytes on the wire in units of the object."""
    ended = [answer["ended_s"] - began_s for answer in answers]
    wire_bytes = sum(answer["wire_bytes"] for answer in answers)
    return {
        "seconds": max(ended),
        "first_s": min(ended),
        "each_s": ended,
        "wire_bytes": wire_bytes,
        "downloads": wire_bytes / size_bytes,
        "sources": sorted(answer["source"] for answer in answers),
        "right": all(answer["right"] for answer in answers),
    }


def checks(report: Report) -> list[Check]:
    rows = report.rows

    def of(way: str, setting: str, name: str) -> float | None:
        return median([r for r in rows if r["situation"] == way and r["setting"] == setting], name)

    found: list[Check] = []
    for way in ("file", "tensors"):
        one, four = of(way, "1 processes", "seconds"), of(way, f"{PROCESSES} processes", "seconds")
        downloads = of(way, f"{PROCESSES} processes", "downloads")
        found.append(at_most(f"{way}: downloads of four with locks", downloads, 1.02))
        found.append(at_most(f"{way}: time of four / time of one", four / one if one and four else None, 1.15))
    ran = [r for r in rows if not r.get("error")]
    wrong = sum(1 for r in ran if not r["right"] or r["files"] != 1)
    found.append(Check("runs with wrong bytes or more than one file", wrong, "== 0", bool(ran) and wrong == 0))
    return found


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.seaweed import Seaweed

    size_mb = QUICK_MB if quick else SIZE_MB
    source = synthetic(ROOT / ".venv" / "models" / "bench" / f"several{size_mb}.safetensors", size_mb * 10**6, size_mb)
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv") as scratch, Seaweed(memory_limit_mib=None) as server:
        bench = Bench(report, Path(scratch), server, Bucket(server).put("checkpoints/shared/model.safetensors", source))
        bench.prepare()
        done = {(r["situation"], r["setting"], r["repetition"]) for r in report.rows}
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for case in random.Random(repetition).sample(CASES, len(CASES)):
                if (case.way, case.setting, repetition) not in done:
                    bench.run(case, repetition)
    return report.finish(checks(report))
