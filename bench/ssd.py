"""``bench ssd``: an object that is on the SSD and nowhere in memory, until every tensor is usable and every page touched.

Beside it the limits of the same disk in the same run (bytes kept, as a loader keeps them, and bytes dropped), and a file
that is in the page cache.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .contenders import Contender
from .disk_loads import store
from .jobs import Job, Target
from .objects import into_page_cache, out_of_page_cache, synthetic, target_of
from .peers import install
from .processes import ROOT, run_module
from .report import Check, Column, Report, Row, at_least, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("GB/s", "gb_per_s"),
    Column("CPU s/GB", "cpu_s_per_gb", ".3f"),
    Column("+RSS MB", "rss_above_object_mb", ".0f"),
    Column("cached", "cached", ".2f"),
    Column("right", "right", ".0f"),
)
SIZE_MB, QUICK_MB = 2000, 500
REPETITIONS = 7
OURS, RAW, DISK = "SSD tier", "raw O_DIRECT", "disk alone"
COLD, HOT = "cold disk", "hot file"
NEXT = ROOT / ".venv" / "peers-safetensors"
MODELS = ROOT / ".venv" / "models" / "bench"


@dataclass
class Bench:
    report: Report
    scratch: Path
    quick: bool
    target: Target = field(init=False)
    options: dict[str, Any] = field(init=False)

    def prepare(self) -> None:
        """Two copies in the tier: the one that is measured, and the one whose memory it lands in."""
        size_mb = QUICK_MB if self.quick else SIZE_MB
        source = synthetic(MODELS / (f"quick{size_mb}.safetensors" if self.quick else f"several{size_mb}.safetensors"), size_mb * 10**6, 1)
        self.target = target_of("checkpoints/model.safetensors", source)
        root = self.scratch / "ssd"
        path = store(root, "a", source)
        store(root, "b", source)
        self.options = {"path": str(path), "root": str(root), "version": "a", "warm_version": "b"}

    def run(self, situation: str, one: Contender, repetition: int) -> None:
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=self.scratch))
        for path in (self.scratch / "ssd").rglob("*.safetensors"):
            out_of_page_cache(path)
        if situation == HOT:
            into_page_cache(Path(self.options["path"]))
        warm = (self.target,) if one.setting == "arena warm" else ()
        job = Job(one.client, "", "", "", "", (self.target,), str(directory), warm_targets=warm, options={**self.options, **one.options})
        cached = cached_share(Path(self.options["path"]))
        try:
            answer = run_module("bench.child", job.plain(), python=one.python, environ=one.environ)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self.report.add({**row_of(situation, one), "repetition": repetition, "cached": cached, **answer})


def contenders(*, quick: bool) -> list[tuple[str, Contender]]:
    """Each in its situation."""
    hot = [Contender(OURS, "arena warm"), Contender("safetensors", "mmap", {"backend": "mmap"})]
    return [*((COLD, one) for one in cold_contenders(quick=quick)), *((HOT, one) for one in hot)]


def cold_contenders(*, quick: bool) -> list[Contender]:
    found = [Contender(OURS, "arena warm", always=True), Contender(OURS, "fresh process", always=True)]
    found += [Contender(RAW, f"{n} threads", {"threads": n}) for n in ((4,) if quick else (1, 4, 8))]
    found.append(Contender(DISK, "bytes dropped"))
    found += [Contender("safetensors", backend, {"backend": backend}) for backend in ("mmap", "pread")]
    newest = newest_safetensors()
    found += [replace(newest, setting=backend, options={"backend": backend}) for backend in (("pread",) if quick else ("mmap", "pread"))]
    prefetch = newest.missing or "its prefetch loads to CUDA devices only"
    found.append(replace(newest, setting="prefetch", options={}, missing=prefetch))
    fast = install("fastsafetensors")
    found.append(Contender("fastsafetensors", "CPU", python=fast.python, missing=fast.missing))
    return found


def newest_safetensors() -> Contender:
    """The newest release, candidates included, in a folder of its own: other peers go on with the one ComfyUI brings."""
    one = Contender("safetensors next", "", environ={"PYTHONPATH": str(NEXT)})
    if (NEXT / "safetensors").is_dir():
        return one
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--pre", "--target", str(NEXT), "safetensors"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return one if done.returncode == 0 else replace(one, missing="cannot be installed")


def cached_share(path: Path) -> float:
    """0 or 1: whether the tier would take the file for one that is in the page cache."""
    from modelstream.cache.disk_read import is_hot

    return float(is_hot(path, path.stat().st_size))


def row_of(situation: str, one: Contender) -> Row:
    return {"situation": situation, "client": one.client, "setting": one.setting}


def seconds(rows: list[Row], client: str, *settings: str, situation: str = COLD) -> float | None:
    """The best median of the settings (of all when none is named)."""
    mine = [r for r in rows if r["situation"] == situation and r["client"] == client and (not settings or r["setting"] in settings)]
    medians = [median([r for r in mine if r["setting"] == s], "seconds") for s in {r["setting"] for r in mine}]
    return min((m for m in medians if m is not None), default=None)


def checks(report: Report) -> list[Check]:
    rows = report.rows

    def rate(theirs: float | None, ours: float | None = seconds(rows, OURS, "arena warm")) -> float | None:
        return theirs / ours if ours and theirs else None

    mapped, fast, newest = seconds(rows, "safetensors", "mmap"), seconds(rows, "fastsafetensors"), seconds(rows, "safetensors next")
    limit, dropped = seconds(rows, RAW), seconds(rows, DISK)
    for name, theirs in (("safetensors' mmap", mapped), ("fastsafetensors", fast), ("newest safetensors", newest)):
        if theirs and limit and dropped:
            report.note(f"{name}: the raw reads into place are {theirs / limit:.2f} times as fast, bytes dropped {theirs / dropped:.2f}")
    ran = [r for r in rows if not r.get("error")]
    wrong = sum(1 for r in ran if not r["right"])
    hot = seconds(rows, OURS, situation=HOT)
    return [
        at_least("rate / raw O_DIRECT's", rate(limit), 0.9),
        at_least("rate / safetensors' own load (mmap)", rate(mapped), 1.3),
        at_least("rate / fastsafetensors' CPU mode", rate(fast), 1.3),
        at_least("rate / newest safetensors' best (prefetch is for CUDA only)", rate(newest), 1.3),
        at_least("a file in the page cache: rate / a cold one's", rate(seconds(rows, OURS, "arena warm"), hot), 1.5),
        Check("runs with wrong bytes", wrong, "== 0", bool(ran) and wrong == 0),
    ]


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv") as scratch:
        bench = Bench(report, Path(scratch), quick)
        bench.prepare()
        everybody = contenders(quick=quick)
        for situation, one in everybody:
            if one.missing:
                report.add({**row_of(situation, one), "repetition": 0, "error": one.missing})
        able = [(situation, one) for situation, one in everybody if not one.missing]
        done = {(r["situation"], r["client"], r["setting"], r["repetition"]) for r in report.rows}
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for situation, one in random.Random(repetition).sample(able, len(able)):
                if (situation, one.client, one.setting, repetition) not in done:
                    bench.run(situation, one, repetition)
    return report.finish(checks(report))
