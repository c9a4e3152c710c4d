"""``bench compress``: time to a state dict on links of several rates, of the plain object and by way of its compressed form.

The server stands behind a veth pair with ``tbf``.  The files hold bf16 and fp16 numbers as trained weights have them: bell-shaped, a
scale of its own for each tensor.  Real checkpoints differ by a few per cent either way; what never shrinks is noted beside the table.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cold import common, compile_package
from .jobs import Job, Target
from .link import Link, NoLink, throttled
from .objects import Bucket
from .processes import ROOT, run_module
from .product import SNAPSHOT
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("on link", "stored_share", ".3f"),
    Column("CPU-s/GB", "cpu_s_per_gb"),
    Column("peak MB", "rss_above_object_mb", ".0f"),
    Column("right", "right", ".0f"),
)
RATES_MBIT = (500, 1000, 2500, 10_000)
KINDS = ("bf16", "fp16")
SETTINGS = ("never", "always", "auto")
SIZE_MB, QUICK_MB = 400, 100
WARM_MB = 80
REPETITIONS = 3


def weights(path: Path, size_bytes: int, kind: str, seed: int) -> Path:
    """A safetensors file like a transformer's: two shapes in turn, each tensor with its own scale (0.005 to 0.08), norms near 1."""
    if path.exists():
        return path
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": torch.float8_e4m3fn}[kind]
    tensors: dict[str, Any] = {}
    left = size_bytes
    while left > 0:
        number = len(tensors)
        scale = 0.005 * 16 ** torch.rand(1, generator=generator).item()
        shape = (2048,) if number % 8 == 7 else (2048, 2048) if number % 2 else (2048, 1024)
        plain = torch.randn(shape, generator=generator) * scale
        tensors[f"blocks.{number:04d}.weight"] = (plain + 1.0 if number % 8 == 7 else plain).to(dtype)
        left -= tensors[f"blocks.{number:04d}.weight"].nbytes
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    save_file(tensors, fresh, metadata={"format": "pt"})
    fresh.rename(path)
    return path


@dataclass
class Bench:
    report: Report
    scratch: Path
    server: Any
    link: Link
    targets: dict[str, Target]
    warm: tuple[Target, ...]
    state: str = ""

    def prepare(self) -> None:
        self.state = tempfile.mkdtemp(prefix="state-", dir=self.scratch)
        job = self.job(KINDS[0], self.state, {}, state="", warm=())
        answer = run_module("bench.child", {**job.plain(), "prepare": True}, environ=common(job))
        if answer.get("error") or not (Path(self.state) / SNAPSHOT).exists():
            self.report.note(f"the catalog could not be prepared: {answer.get('error')}")

    def job(self, kind: str, directory: str, options: dict[str, Any], *, state: str, warm: tuple[Target, ...]) -> Job:
        s = self.server
        return Job(
            "Model Stream",
            s.endpoint,
            s.bucket,
            s.access_key,
            s.secret_key,
            (self.targets[kind],),
            directory,
            state=state,
            warm_targets=warm,
            options=options,
        )

    def run(self, rate_mbit: int, kind: str, setting: str, repetition: int) -> None:
        """Warm process: what it measures of the link comes from plain objects of the same bucket, loaded before the clock starts."""
        directory = tempfile.mkdtemp(prefix="run-", dir=self.scratch)
        job = self.job(kind, directory, {"compressed": setting, "ssd": False}, state=self.state, warm=self.warm)
        try:
            answer = run_module("bench.child", job.plain(), environ=common(job))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if answer.get("wire_bytes"):
            answer["stored_share"] = answer["wire_bytes"] / answer["bytes"]
        row = {"situation": f"{rate_mbit} Mbit", "client": kind, "setting": setting, "repetition": repetition}
        self.report.add({**row, **answer})


def compress_all(server: Any, report: Report, scratch: Path) -> None:
    """The forms of every kind that has one, made by the product itself."""
    from modelstream.cache.compressing import Compressor
    from modelstream.storage.config import Config
    from modelstream.storage.origin import open_origins

    (origin,) = open_origins(Config.from_text(server.config_toml()))
    for page in origin.list_pages():
        for obj in page:
            if obj.basename.startswith("target-"):
                made = Compressor(origin, scratch / "passing").compress(obj, lambda done: None, always=True)
                rate = obj.size_bytes / made.seconds / 1e6
                report.note(f"{obj.basename}: stored as {made.ratio:.1%}, made at {rate:.0f} MB/s with reading and writing")


def note_others(report: Report, folder: Path) -> None:
    """What the benchmark does not load: how far other kinds of files shrink."""
    from modelstream.cache.planes import encode

    for kind in ("fp32", "fp8"):
        body = weights(folder / f"compress-{kind}.safetensors", 32 * 10**6, kind, 7).read_bytes()
        chunks = [body[at : at + (4 << 20)] for at in range(0, len(body), 4 << 20)]
        report.note(f"{kind}: stored as {sum(len(encode(chunk)[1]) for chunk in chunks) / len(body):.1%}")


def checks(rows: list[Row]) -> list[Check]:
    def of(rate: int, kind: str, setting: str) -> float | None:
        found = [r for r in rows if (r["situation"], r["client"], r["setting"]) == (f"{rate} Mbit", kind, setting)]
        return median(found, "seconds")

    found: list[Check] = []
    for kind, limits in (("bf16", {500: 0.75, 1000: 0.8}), ("fp16", {500: 0.92, 1000: 0.95})):
        for rate, limit in limits.items():
            plain, form = of(rate, kind, "never"), of(rate, kind, "always")
            found.append(at_most(f"{kind} at {rate} Mbit/s: compressed / plain", form / plain if form and plain else None, limit))
    for kind in KINDS:
        for rate in RATES_MBIT:
            plain, form, auto = (of(rate, kind, setting) for setting in SETTINGS)
            ratio = auto / min(plain, form) if plain and form and auto else None
            found.append(at_most(f"{kind} at {rate} Mbit/s: auto / the better of both", ratio, 1.15))
    ran = [row for row in rows if not row.get("error")]
    wrong = sum(not row["right"] for row in ran)
    found.append(Check("runs with wrong bytes", wrong, "== 0", bool(ran) and wrong == 0))
    return found


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.seaweed import Seaweed

    compile_package()
    size_mb = QUICK_MB if quick else SIZE_MB
    folder = ROOT / ".venv" / "models" / "bench"
    files = {kind: weights(folder / f"compress-{kind}-{size_mb}.safetensors", size_mb * 10**6, kind, n) for n, kind in enumerate(KINDS)}
    before = [weights(folder / f"compress-warm-{n}.safetensors", WARM_MB * 10**6, "bf16", 100 + n) for n in range(3)]
    note_others(report, folder)
    with ExitStack() as opened:
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv")))
        try:
            link = opened.enter_context(throttled(max(RATES_MBIT)))
        except NoLink as reason:
            report.note(f"not measured: {reason}")
            return report.finish(checks(report.rows))
        flags = (f"-ip={link.address}", f"-ip.bind={link.address}")
        server = Seaweed(memory_limit_mib=None, prefix=link.prefix, extra=flags)
        server.host = link.address
        opened.enter_context(server)
        bucket = Bucket(server)
        targets = {kind: bucket.put(f"checkpoints/target-{kind}.safetensors", path) for kind, path in files.items()}
        warm = tuple(bucket.put(f"checkpoints/warm-{n}.safetensors", path) for n, path in enumerate(before))
        compress_all(server, report, scratch)
        bench = Bench(report, scratch, server, link, targets, warm)
        bench.prepare()
        done = {(r["situation"], r["client"], r["setting"], r["repetition"]) for r in report.rows}
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for rate in RATES_MBIT:
                link.set_rate(rate)
                cases = [(kind, setting) for kind in KINDS for setting in SETTINGS]
                for kind, setting in random.Random(f"{repetition} {rate}").sample(cases, len(cases)):
                    if (f"{rate} Mbit", kind, setting, repetition) not in done:
                        bench.run(rate, kind, setting, repetition)
    return report.finish(checks(report.rows))
