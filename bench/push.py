"""``bench push``: one large file into a bucket, as a fresh process: ours, s5cmd and rclone, against a raw socket's rate.

The raw socket sends parts of a multipart upload from warm memory, unsigned payload, no checksum, nothing hashed: what this
server takes at best.  Everybody's file is in the page cache; every repetition has a fresh server; the disks are synced
between runs, off the clock.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .objects import into_page_cache, synthetic, target_of
from .peers import install
from .processes import CLIENT_CORE, ROOT, SERVER_CORE, cpu_seconds_of, environment, pinned
from .report import Check, Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("MB/s", "mb_per_s", ".0f"),
    Column("CPU s/GB", "cpu_s_per_gb", ".3f"),
    Column("server s", "server_cpu_s", ".1f"),
    Column("right", "right", ".0f"),
)
SIZE_MB, QUICK_MB = 2000, 300
REPETITIONS = 3
KEY = "checkpoints/model.safetensors"
OURS = "Model Stream"
SITUATIONS = ("pinned",)
"""server and client on a core each: on the same cores a client that burns less would only look faster"""


@dataclass(frozen=True)
class Contender:
    """command: (where the server is, file) → what is started"""

    client: str
    setting: str
    command: Callable[[Place, Path], list[str]]
    environ: Callable[[Place], dict[str, str]]
    missing: str = ""


@dataclass(frozen=True)
class Place:
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    directory: Path


def contenders(*, quick: bool) -> list[Contender]:
    s5cmd, rclone = install("s5cmd"), install("rclone")

    def s5(*more: str) -> Callable[[Place, Path], list[str]]:
        return lambda p, file: [s5cmd.program, "cp", *more, str(file), f"s3://{p.bucket}/{KEY}"]

    def rc(*more: str) -> Callable[[Place, Path], list[str]]:
        return lambda p, file: [rclone.program, "copyto", "--no-check-dest", *more, str(file), f"bench:{p.bucket}/{KEY}"]

    found = [
        Contender(OURS, "default", _ours(), _nothing),
        Contender(OURS, "no sha256", _ours("--no-sha256"), _nothing),
        Contender("s5cmd", "default", s5(), _aws, s5cmd.missing),
        Contender("s5cmd", "4 x 16 MiB", s5("-c", "4", "-p", "16"), _aws, s5cmd.missing),
        Contender("rclone", "default", rc(), _rclone, rclone.missing),
        Contender("rclone", "4 x 64 MiB, no md5", rc(*_RCLONE_FAST), _rclone, rclone.missing),
        Contender("raw socket", "4 x 16 MiB", _raw(4, 16), _nothing),
        Contender("raw socket", "4 x 64 MiB", _raw(4, 64), _nothing),
    ]
    return [c for c in found if c.setting in ("default", "4 x 16 MiB")] if quick else found


_RCLONE_FAST = ("--s3-chunk-size", "64M", "--s3-upload-concurrency", "4", "--s3-disable-checksum")


def _ours(*more: str) -> Callable[[Place, Path], list[str]]:
    def command(place: Place, file: Path) -> list[str]:
        state = place.directory / "user" / "__modelstream"
        state.mkdir(parents=True, exist_ok=True)
        config = state / "config.toml"
        config.touch(0o600)
        config.write_text(
            f'[profiles.bench]\nendpoint = "{place.endpoint}"\nallow_http = true\naccess_key_id = "{place.access_key}"\n'
            f'secret_access_key = "{place.secret_key}"\n[[origins]]\nname = "bench"\nbucket = "{place.bucket}"\n'
        )
        started = [sys.executable, "-m", "modelstream", "push", str(file), "--to", f"bench:{KEY}"]
        return [*started, "--comfyui", str(place.directory), "--same", "upload", *more]

    return command


def _raw(connections: int, part_mib: int) -> Callable[[Place, Path], list[str]]:
    def command(place: Place, file: Path) -> list[str]:
        keys = [place.endpoint, place.bucket, place.access_key, place.secret_key]
        return [sys.executable, "-m", "bench.push_raw", *keys, KEY, str(file), str(connections), str(part_mib)]

    return command


def _nothing(place: Place) -> dict[str, str]:
    return {}


def _aws(place: Place) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": place.access_key, "AWS_SECRET_ACCESS_KEY": place.secret_key}
    return {**keys, "S3_ENDPOINT_URL": place.endpoint, "AWS_REGION": "us-east-1"}


def _rclone(place: Place) -> dict[str, str]:
    return {
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": place.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": place.access_key,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": place.secret_key,
        "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG": "/dev/null",
    }


@dataclass
class Bench:
    report: Report
    scratch: Path
    file: Path
    expected_crc: int

    def repetition(self, situation: str, number: int, going: Sequence[Contender]) -> None:
        """Everybody once, in random order, against one fresh server: what it keeps on its disk is gone afterwards."""
        from tests.rig.seaweed import Seaweed

        left = [c for c in going if not self._done(situation, c, number)]
        if not left:
            return
        with Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE)) as server:
            for contender in random.Random(f"{situation} {number}").sample(left, len(left)):
                directory = Path(tempfile.mkdtemp(prefix="run-", dir=self.scratch))
                place = Place(server.endpoint, server.bucket, server.access_key, server.secret_key, directory)
                row = {"error": contender.missing} if contender.missing else self.run(contender, server, place)
                named = {"situation": situation, "client": contender.client, "setting": contender.setting, "repetition": number}
                self.report.add({**named, **row})

    def run(self, contender: Contender, server: Any, place: Place) -> Row:
        os.sync()
        into_page_cache(self.file)
        command = [*pinned(CLIENT_CORE), *contender.command(place, self.file)]
        server_before, began_s = cpu_seconds_of(server.pid), time.perf_counter()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(contender.environ(place)), stdout=output, stderr=errors, text=True
            )
            _, status, usage = os.wait4(process.pid, 0)  # its own usage, not that of all children so far
            seconds = time.perf_counter() - began_s
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            said, complained = output.read(), errors.read().strip().splitlines()
        if process.returncode:
            return {"error": (complained or ["it said nothing"])[-1][:200]}
        if contender.client == "raw socket":
            seconds = float(said)
        size = self.file.stat().st_size
        cpu_s = usage.ru_utime + usage.ru_stime
        return {
            "seconds": seconds,
            "mb_per_s": size / seconds / 1e6,
            "cpu_s_per_gb": cpu_s / size * 1e9,
            "server_cpu_s": cpu_seconds_of(server.pid) - server_before,
            "right": self._is_right(server),
        }

    def _is_right(self, server: Any) -> bool:
        """Reads it back and takes it away again.  Off the clock."""
        from awscrt import checksums

        client, crc = server.client(), 0
        body = client.get_object(Bucket=server.bucket, Key=KEY)["Body"]
        for piece in body.iter_chunks(4 << 20):
            crc = checksums.crc64nvme(piece, crc)
        client.delete_object(Bucket=server.bucket, Key=KEY)
        client.close()
        return crc == self.expected_crc

    def _done(self, situation: str, contender: Contender, number: int) -> bool:
        wanted = (situation, contender.client, contender.setting, number)
        return any((r["situation"], r["client"], r["setting"], r["repetition"]) == wanted for r in self.report.rows)


def best(rows: Sequence[Row], situation: str, clients: Sequence[str]) -> float | None:
    """The least median seconds of these clients over their settings."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["situation"] == situation and row["client"] in clients:
            groups.setdefault((row["client"], row["setting"]), []).append(row)
    medians = [median(group, "seconds") for group in groups.values()]
    return min((m for m in medians if m is not None), default=None)


def checks(rows: Sequence[Row]) -> list[Check]:
    """Asked: 1.2 times as fast as each peer's best, or within 5 % of what the server takes from a raw socket."""
    found: list[Check] = []
    for situation in [s for s in SITUATIONS if any(row["situation"] == s for row in rows)]:
        mine = [r for r in rows if (r["situation"], r["client"], r["setting"]) == (situation, OURS, "default")]
        seconds, limit_s = median(mine, "seconds"), best(rows, situation, ["raw socket"])
        peers_s = [best(rows, situation, [peer]) for peer in ("s5cmd", "rclone")]
        ratios = [peer / seconds for peer in peers_s if peer and seconds]
        slowest = min(ratios, default=None)
        to_limit = seconds / limit_s if seconds and limit_s else None
        near = to_limit is not None and to_limit <= 1.05
        faster = slowest is not None and slowest >= 1.2
        found += [
            Check(f"{situation}: rate / the better peer's best setting", _round(slowest), ">= 1.2, or near the limit", faster or near),
            Check(f"{situation}: time / raw socket's best", _round(to_limit), "<= 1.05, or 1.2 x the peers", faster or near),
            at_most(f"{situation}: our CPU-s per GB", median(mine, "cpu_s_per_gb"), 3.0),
        ]
    good = [row for row in rows if not row.get("error")]
    wrong = sum(1 for row in good if not row["right"])
    found.append(Check("runs with wrong bytes", wrong, "== 0", bool(good) and wrong == 0))
    found.append(at_least("runs that succeeded / runs", len(good) / len(rows) if rows else None, 1.0))
    return found


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    size_mb = QUICK_MB if quick else SIZE_MB
    file = synthetic(ROOT / ".venv" / "models" / "bench" / f"push{size_mb}.safetensors", size_mb * 10**6, seed=size_mb)
    expected = target_of(KEY, file).crc_object
    going = contenders(quick=quick)
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv") as scratch:
        bench = Bench(report, Path(scratch), file, expected)
        for number in range(repetitions or (1 if quick else REPETITIONS)):
            for situation in SITUATIONS:
                bench.repetition(situation, number, going)
    return report.finish(checks(report.rows))
