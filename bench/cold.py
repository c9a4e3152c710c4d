"""``bench cold``: from empty client caches until every tensor is usable, against everybody else and against the limits."""

from __future__ import annotations

import compileall
import random
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .contenders import Contender, contenders
from .jobs import Job, Target
from .link import NoLink, own_loopback, throttled
from .objects import Bucket, synthetic
from .processes import CLIENT_CORE, ROOT, SERVER_CORE, cpu_seconds_of, pinned, run_module, set_cores
from .product import SNAPSHOT
from .report import Check, Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("GB/s", "gb_per_s"),
    Column("CPU s/GB", "cpu_s_per_gb", ".3f"),
    Column("+RSS MB", "rss_above_object_mb", ".0f"),
    Column("server s", "server_cpu_s"),
    Column("right", "right", ".0f"),
)
SITUATIONS = ("warm", "fresh", "several", "throttled", "warm-unpinned", "fresh-unpinned")
RATE_MBIT = 2000
SEVERAL_MB = (200, 500, 1000, 2000)
QUICK_MB = 500
QUICK_SEVERAL_MB = (50, 100, 150, 200)
REPETITIONS = 5
OURS = "Model Stream"
CHEAP_SERVER_FLAGS = ("-filer.maxMB=8", "-volume.readBufferSizeMB=1")
"""with ``--cheap-server``: chunks of 8 MiB (the S3 gateway's own default; mini says 4): fewer requests inside the server.  The volume
part reads 1 MiB before it sends it: with its usual 4 the bytes have left the core's cache by then"""


@dataclass
class Bench:
    """One run of the benchmark.  ``scratch`` is removed at the end; models that were made stay beside the environment."""

    report: Report
    repetitions: int
    scratch: Path
    models: Path
    clients: frozenset[str] | None = None
    """None: everybody"""
    quick: bool = False
    server_flags: tuple[str, ...] = ()
    _known: dict[Path, Target] = field(default_factory=dict)

    # -- objects -----------------------------------------------------------------------------------------------------
    def single(self) -> list[Path]:
        if self.quick:
            return [synthetic(self.models / f"quick{QUICK_MB}.safetensors", QUICK_MB * 10**6, seed=1)]
        from tests.rig.checkpoints import models

        made = models("sd15")
        return [made.path(next(key for key in made if key.startswith("checkpoints/")))]

    def several(self) -> list[Path]:
        sizes = QUICK_SEVERAL_MB if self.quick else SEVERAL_MB
        return [synthetic(self.models / f"several{mb}.safetensors", mb * 10**6, seed=mb) for mb in sizes]

    def others(self, files: Iterable[Path]) -> list[Path]:
        """Files of the same sizes and shapes with other bytes: the same bytes under another name are found and not fetched again."""
        made = []
        for path in files:
            other = self.scratch / f"other-{path.name}"
            if not other.exists():
                shutil.copyfile(path, other)
                with other.open("r+b") as file:
                    file.seek(-1, 2)
                    last = file.read(1)[0]
                    file.seek(-1, 2)
                    file.write(bytes([last ^ 1]))
            made.append(other)
        return made

    def put(self, bucket: Bucket, files: Iterable[Path], folder: str) -> tuple[Target, ...]:
        targets = []
        for path in files:
            target = bucket.put(f"checkpoints/{folder}/{path.name}", path, expected=self._known.get(path))
            self._known[path] = target
            targets.append(target)
        return tuple(targets)

    # -- situations --------------------------------------------------------------------------------------------------
    def loopback(self, wanted: Sequence[str]) -> None:
        """Every situation with the server on loopback, under one server."""
        from tests.rig.seaweed import Seaweed

        with Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE), extra=self.server_flags) as server:
            bucket = Bucket(server)
            single = [name for name in wanted if name != "several"]
            if single:
                files = self.single()
                targets = self.put(bucket, files, "a")
                warm = self.put(bucket, self.others(files), "b") if any(name.startswith("warm") for name in single) else ()
                state = self.prepare(server, targets)
                for name in single:
                    set_cores(server.pid, None if name.endswith("unpinned") else SERVER_CORE)
                    self.situation(name, server, bucket, targets, warm if name.startswith("warm") else (), state, files)
                set_cores(server.pid, SERVER_CORE)
                for target in (*targets, *warm):
                    bucket.remove(target.key)
            if "several" in wanted:
                files = self.several()
                targets, warm = self.put(bucket, files, "a"), self.put(bucket, self.others(files), "b")
                self.situation("several", server, bucket, targets, warm, self.prepare(server, targets), files)

    def throttled(self) -> None:
        """The server on the far side of a slow link.  What cannot be had is a note, and its check fails."""
        from tests.rig.seaweed import Seaweed

        with ExitStack() as opened:
            try:
                link = opened.enter_context(throttled(RATE_MBIT))
            except NoLink as reason:
                self.report.note(f"throttled: skipped: {reason}")
                return
            flags = (*self.server_flags, f"-ip={link.address}", f"-ip.bind={link.address}")
            server = Seaweed(memory_limit_mib=None, prefix=(*link.prefix, *pinned(SERVER_CORE)), extra=flags)
            server.host = link.address
            opened.enter_context(server)
            bucket, files = Bucket(server), self.single()
            targets = self.put(bucket, files, "a")
            self.situation("throttled", server, bucket, targets, (), self.prepare(server, targets), files)

    def situation(
        self, name: str, server: Any, bucket: Bucket, targets: tuple[Target, ...], warm: tuple[Target, ...], state: str, files: list[Path]
    ) -> None:
        field_ = [c for c in contenders(name, quick=self.quick) if self.clients is None or c.client in self.clients]
        for one in self.unable(name, field_):
            field_.remove(one)
        converted: tuple[Target, ...] = ()
        if any(c.client == "tensorizer" for c in field_):
            converted = self.convert(bucket, targets, files, next(c for c in field_ if c.client == "tensorizer"))
        best: dict[str, Contender] = {}
        for repetition in range(self.repetitions):
            going = field_ if repetition == 0 else [c for c in field_ if c.always or best.get(c.client) is c]
            for one in random.Random(f"{name} {repetition}").sample(going, len(going)):
                if not self.done(name, one, repetition):
                    own = (converted, ()) if one.client == "tensorizer" else (targets, warm)
                    if own[0]:
                        self.run(name, one, repetition, server, own[0], own[1], state)
            if repetition == 0:
                best = self.best(name, field_)

    def run(
        self, name: str, one: Contender, repetition: int, server: Any, targets: tuple[Target, ...], warm: tuple[Target, ...], state: str
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=self.scratch))
        memory = Path(tempfile.mkdtemp(prefix="modelstream-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else self.scratch))
        job = Job(
            client=one.client,
            endpoint=server.endpoint,
            bucket=server.bucket,
            access_key=server.access_key,
            secret_key=server.secret_key,
            targets=targets,
            directory=str(directory),
            memory_directory=str(memory),
            state=state,
            warm_targets=warm,
            options=one.options,
        )
        core = None if name.endswith("unpinned") else CLIENT_CORE
        before = cpu_seconds_of(server.pid)
        try:
            answer = run_module("bench.child", job.plain(), python=one.python, core=core, environ={**common(job), **one.environ})
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            shutil.rmtree(memory, ignore_errors=True)
        answer["server_cpu_s"] = cpu_seconds_of(server.pid) - before
        self.report.add({**row_of(name, one), "repetition": repetition, "core": core, **answer})

    def prepare(self, server: Any, targets: tuple[Target, ...]) -> str:
        """The catalog's snapshot, as an earlier start of ComfyUI left it.  Off every clock."""
        state = Path(tempfile.mkdtemp(prefix="state-", dir=self.scratch))
        job = Job(OURS, server.endpoint, server.bucket, server.access_key, server.secret_key, targets, str(state))
        answer = run_module("bench.child", {**job.plain(), "prepare": True}, environ=common(job))
        if answer.get("error"):
            self.report.note(f"the catalog could not be prepared: {answer['error']}")
        return str(state) if (state / SNAPSHOT).exists() else ""

    def convert(self, bucket: Bucket, targets: tuple[Target, ...], files: list[Path], one: Contender) -> tuple[Target, ...]:
        """The same tensors in tensorizer's own format.  Off every clock."""
        made = []
        for target, path in zip(targets, files, strict=True):
            converted = self.scratch / f"{path.stem}.tensors"
            answer = run_module("bench.convert", {"source": str(path), "target": str(converted)}, python=one.python)
            if answer.get("error"):
                self.report.add({**row_of("convert", one), "error": answer["error"]})
                return ()
            moved = bucket.put(f"tensorizer/{converted.name}", converted, expected=target)
            made.append(replace(moved, size_bytes=target.size_bytes, form="tensors"))
            converted.unlink()
        return tuple(made)

    # -- bookkeeping ---------------------------------------------------------------------------------------------------
    def unable(self, name: str, field_: Iterable[Contender]) -> list[Contender]:
        missing = [c for c in field_ if c.missing]
        for one in missing:
            if not self.done(name, one, 0):
                self.report.add({**row_of(name, one), "repetition": 0, "error": one.missing})
        return missing

    def done(self, name: str, one: Contender, repetition: int) -> bool:
        wanted = {**row_of(name, one), "repetition": repetition}
        return any(all(row.get(k) == v for k, v in wanted.items()) for row in self.report.rows)

    def best(self, name: str, field_: Iterable[Contender]) -> dict[str, Contender]:
        """The fastest setting of each client in the first repetition."""
        found: dict[str, tuple[float, Contender]] = {}
        for one in field_:
            seconds = median(rows_of(self.report.rows, name, one.client, one.setting), "seconds")
            if seconds is not None and (one.client not in found or seconds < found[one.client][0]):
                found[one.client] = (seconds, one)
        return {client: one for client, (_, one) in found.items()}


def common(job: Job) -> dict[str, str]:
    """Where the server is and as whom to ask, in the words of every client."""
    keys = {"AWS_ACCESS_KEY_ID": job.access_key, "AWS_SECRET_ACCESS_KEY": job.secret_key}
    aws = {**keys, "AWS_ENDPOINT_URL": job.endpoint, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    rclone = {
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": job.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": job.access_key,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": job.secret_key,
        "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG": "/dev/null",
    }
    return {**aws, **rclone}


def row_of(name: str, one: Contender) -> Row:
    return {"situation": name, "client": one.client, "setting": one.setting}


def rows_of(rows: Iterable[Row], situation: str, client: str, setting: str | None = None) -> list[Row]:
    return [r for r in rows if r["situation"] == situation and r["client"] == client and setting in (None, r["setting"])]


# -- checks --------------------------------------------------------------------------------------------------------------
def fastest(rows: list[Row], situation: str, clients: Iterable[str]) -> float | None:
    """The best median of these clients over all their settings, in seconds."""
    medians = []
    for client in clients:
        settings = {row["setting"] for row in rows_of(rows, situation, client)}
        medians += [median(rows_of(rows, situation, client, setting), "seconds") for setting in settings]
    return min((m for m in medians if m is not None), default=None)


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def checks(rows: list[Row], wanted: Sequence[str]) -> list[Check]:
    """One for each figure that was asked for.  Ours is the product's default setting."""

    def ours(situation: str, name: str) -> float | None:
        return median(rows_of(rows, situation, OURS, "default"), name)

    peers = sorted({row["client"] for row in rows} - {OURS, "raw socket", "memcpy"})
    found: list[Check] = []
    if "warm" in wanted:
        seconds = ours("warm", "seconds")
        found += [
            at_least("arena warm: rate / raw socket's", ratio(fastest(rows, "warm", ["raw socket"]), seconds), 0.90),
            at_least("arena warm: rate / Run:ai's best", ratio(fastest(rows, "warm", ["Run:ai"]), seconds), 1.5),
            at_most("arena warm: CPU-s per GB", ours("warm", "cpu_s_per_gb"), 0.35),
            at_most("arena warm: peak RSS above the object, MB", ours("warm", "rss_above_object_mb"), 400),
        ]
    if "fresh" in wanted:
        found += [
            at_most("fresh process: time / fastest peer's", ratio(ours("fresh", "seconds"), fastest(rows, "fresh", peers)), 0.9),
            at_most("fresh process: peak RSS above the object, MB", ours("fresh", "rss_above_object_mb"), 400),
        ]
    if "warm-unpinned" in wanted:
        best = fastest(rows, "warm-unpinned", ["Run:ai"])
        found.append(at_least("all cores, arena warm: rate / Run:ai's best", ratio(best, ours("warm-unpinned", "seconds")), 1.5))
    if "fresh-unpinned" in wanted:
        best = fastest(rows, "fresh-unpinned", peers)
        found.append(at_most("all cores, fresh process: time / fastest peer's", ratio(ours("fresh-unpinned", "seconds"), best), 0.9))
    if "throttled" in wanted:
        bytes_ = ours("throttled", "bytes")
        ideal_s = bytes_ * 8 / (RATE_MBIT * 1e6) if bytes_ else None
        found.append(at_most("2 Gbit/s link: time / (bytes / rate)", ratio(ours("throttled", "seconds"), ideal_s), 1.05))
    if "several" in wanted:
        raw = fastest(rows, "several", ["raw socket"])
        found.append(at_least("four at once: aggregate rate / raw socket's", ratio(raw, ours("several", "seconds")), 0.9))
    short = sum(1 for row in rows if row["client"] == OURS and not row.get("error") and row.get("wire_bytes", 0) < row["bytes"])
    found.append(Check("our runs that did not come whole over the wire", short, "== 0", short == 0))
    good = [row for row in rows if not row.get("error") and "right" in row and row["client"] != "memcpy"]
    wrong = sum(1 for row in good if not row["right"])
    found.append(Check("runs with wrong bytes", wrong, "== 0", bool(good) and wrong == 0))
    return found


def compile_package() -> None:
    """Byte code of our own modules, as every start but the very first finds it; the peers' came with their installation."""
    for room in ("storage", "cache", "hooks", "telemetry", "nodes"):
        compileall.compile_dir(str(ROOT / room), quiet=1)


def main(
    report: Report,
    *,
    only: Sequence[str],
    repetitions: int | None,
    clients: Sequence[str],
    quick: bool,
    models: Path,
    cheap_server: bool = False,
) -> int:
    """cheap_server: the loopback and the server's settings with which it burns least; see docs/benchmarks.md."""
    compile_package()
    wanted = list(only) or (["warm", "fresh", "several", "throttled"] if quick else list(SITUATIONS))
    for name in wanted:
        contenders(name, quick=quick)  # installs peers, while there is a network
    if cheap_server:
        report.note(own_loopback())
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as scratch:
        chosen = frozenset({*clients, OURS}) if clients else None
        bench = Bench(
            report,
            repetitions or (1 if quick else REPETITIONS),
            Path(scratch),
            models,
            chosen,
            quick,
            CHEAP_SERVER_FLAGS if cheap_server else (),
        )
        loopback = [name for name in wanted if name != "throttled"]
        if loopback:
            bench.loopback(loopback)
        if "throttled" in wanted:
            bench.throttled()
    return report.finish(checks(report.rows, wanted))
