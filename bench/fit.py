"""``bench fit``: a 16-bit model written in fp8 while it streams, against streaming it as it is.

Every measured process is fresh.  Then the same from the SSD, with the files out of the page cache: the second load of the
converted form reads half of the bytes and converts nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .link import NoLink, throttled
from .processes import CLIENT_CORE, ROOT, SERVER_CORE, pinned, run_module
from .product import CONFIG
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("seconds", "seconds"),
    Column("GB/s", "gb_per_s"),
    Column("CPU s/GB", "cpu_s_per_gb", ".3f"),
    Column("RAM tier MB", "tier_mb", ".0f"),
    Column("peak +MB", "peak_mb", ".0f"),
    Column("worst", "worst_error", ".4f"),
)
SIZES_GB = (2.0, 6.0)
QUICK_GB = 0.5
RATE_MBIT = 2000
REPETITIONS = 3
PLAIN = "as it is"
WIDTH = 2560
KEY = "diffusion_models/it.safetensors"


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    count = repetitions or (1 if quick else REPETITIONS)
    sizes = (QUICK_GB,) if quick else SIZES_GB
    files = {size: model_of(ROOT / ".venv" / "models" / "bench" / f"wan{size:g}.safetensors", int(size * 1e9)) for size in sizes}
    with _servers(report) as servers:
        for situation, server in servers:
            for size, path in files.items():
                if situation == "2 Gbit/s" and size == max(sizes) and not quick:
                    continue  # the rate is the same and the wait is long; the smaller one says it
                server.client().upload_file(str(path), server.bucket, KEY)
                for repetition in range(count):
                    for form in ("", "fp8"):
                        _pair(report, server, situation, size, form, repetition)
    return report.finish(checks(report.rows, sizes))


def _pair(report: Report, server: Any, situation: str, size_gb: float, form: str, repetition: int) -> None:
    """From the bucket, then from the SSD in a process of its own."""
    row = {"client": form or PLAIN, "setting": f"{size_gb:g} GB", "repetition": repetition}
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-", dir=ROOT / ".venv") as directory:
        fields = {"endpoint": server.endpoint, "bucket": server.bucket, "ssd": str(Path(directory) / "ssd")}
        fields |= {"ram_gb": 8, "ssd_gb": 20, "connections": 0, "part_mb": 0, "compressed": "auto"}
        fields |= {"access_key": server.access_key, "secret_key": server.secret_key}
        config = Path(directory) / "config.toml"
        config.touch(0o600)
        config.write_text(CONFIG.format(**fields))
        job = {"directory": directory, "form": form}
        report.add({"situation": situation, **row, **run_module("bench.fit", job, core=CLIENT_CORE)})
        if situation != "2 Gbit/s":
            for file in Path(directory, "ssd").rglob("*.safetensors"):
                _out_of_page_cache(file)
            report.add({"situation": "again, from the SSD", **row, **run_module("bench.fit", job, core=CLIENT_CORE)})


@contextlib.contextmanager
def _servers(report: Report) -> Iterator[list[tuple[str, Any]]]:
    from tests.rig.seaweed import Seaweed

    with ExitStack() as opened:
        loopback = opened.enter_context(Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE)))
        found: list[tuple[str, Any]] = [("loopback", loopback)]
        try:
            link = opened.enter_context(throttled(RATE_MBIT))
        except NoLink as reason:
            report.note(f"2 Gbit/s: skipped: {reason}")
        else:
            flags = (f"-ip={link.address}", f"-ip.bind={link.address}")
            far = Seaweed(memory_limit_mib=None, prefix=(*link.prefix, *pinned(SERVER_CORE)), extra=flags)
            far.host = link.address
            found.append(("2 Gbit/s", opened.enter_context(far)))
        yield found


def checks(rows: list[Row], sizes: tuple[float, ...]) -> list[Check]:
    def share(situation: str, size: float, name: str) -> float | None:
        found = [
            median([r for r in rows if (r["situation"], r["client"], r["setting"]) == (situation, client, f"{size:g} GB")], name)
            for client in ("fp8", PLAIN)
        ]
        return None if None in found or not found[1] else found[0] / found[1]  # type: ignore[operator]

    made = []
    for size in sizes:
        which = f"{size:g} GB"
        made.append(at_most(f"{which}, loopback: time / as it is", share("loopback", size, "seconds"), 1.7))
        made.append(at_most(f"{which}: RAM tier / as it is", share("loopback", size, "tier_mb"), 0.56))
        made.append(at_most(f"{which}, from the SSD: time / as it is", share("again, from the SSD", size, "seconds"), 0.6))
        plain, converted = (
            median([r for r in rows if (r["situation"], r["client"], r["setting"]) == ("loopback", client, which)], "peak_mb")
            for client in (PLAIN, "fp8")
        )
        above = None if plain is None or converted is None else converted - plain
        made.append(at_most(f"{which}: peak RSS above as it is, MB", above, 300))
    made.append(at_most(f"{sizes[0]:g} GB, 2 Gbit/s: time / as it is", share("2 Gbit/s", sizes[0], "seconds"), 1.05))
    return made


def model_of(path: Path, size_bytes: int) -> Path:
    """A file with the names of a Wan model and weights that are low rank, noise and outliers."""
    if path.exists():
        return path
    from safetensors.torch import save_file

    from tests.rig.precision_models import structured

    basis = [structured(WIDTH, WIDTH, seed) for seed in range(4)]
    tensors: dict[str, Any] = {"head.head.weight": basis[0].clone()}
    left, block = size_bytes - basis[0].nbytes, 0
    while left > 0:
        for number, name in enumerate(("self_attn.q", "self_attn.o", "cross_attn.k", "ffn.0")):
            tensors[f"blocks.{block}.{name}.weight"] = basis[number].roll(block * 37 + 1, 1) * (1 + block % 5 / 8)
            left -= basis[0].nbytes
        block += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    save_file(tensors, fresh, metadata={"format": "pt"})
    fresh.rename(path)
    return path


def _out_of_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# -- in the measured process ---------------------------------------------------------------------------------------------
def child() -> None:
    job = json.loads(sys.stdin.read())
    import torch

    from modelstream.cache.recipe import FORMS
    from modelstream.hooks.runtime import Places, Runtime
    from modelstream.storage.config import load_config
    from modelstream.storage.events import Converted, Event, EventBus
    from modelstream.storage.layout import FolderView

    torch.set_num_threads(1)
    directory = Path(job["directory"])
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    view = FolderView("diffusion_models", ("diffusion_models",), frozenset({".safetensors"}))
    runtime = Runtime(load_config(directory / "config.toml"), Places(state=directory, ssd=directory / "ssd"), bus)
    runtime.start((view,))
    try:
        runtime.catalog.refresh(wait=True)
        runtime.open_ahead()
        cache = runtime.cache
        obj = runtime.catalog.find(view, "it.safetensors")
        assert obj is not None
        wanted = cache.in_precision(obj, job["form"]) if job["form"] in FORMS else obj
        before_kb, cpu_s, started_s = peak_kb(), time.process_time(), time.perf_counter()
        with cache.open_tensors(wanted) as opened:
            touched = sum(int(tensor.reshape(-1).view(torch.uint8)[::4096].sum()) for tensor in opened.state_dict().values())
            seconds = time.perf_counter() - started_s
            cpu_s = time.process_time() - cpu_s
            above_kb = peak_kb() - before_kb
            tier_bytes = sum(entry.size_bytes for entry in cache.snapshot().ram.entries)
        converted = [event for event in events if isinstance(event, Converted)]
        gb = obj.size_bytes / 1e9
        row = {"seconds": seconds, "gb_per_s": gb / seconds, "cpu_s_per_gb": cpu_s / gb, "source": opened.source, "touched": touched}
        row |= {"tier_mb": tier_bytes / 1e6, "peak_mb": above_kb * 1.024 / 1e3}
        row |= {"worst_error": converted[0].worst_error, "stays": converted[0].stays} if converted else {}
        pause = threading.Event()
        while cache.snapshot().loading:  # the copy on the SSD
            pause.wait(0.02)
        print(json.dumps(row))
    finally:
        runtime.close()


def peak_kb() -> int:
    """Of this process's own memory: unlike getrusage's, it does not remember what the parent had before exec."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    child()
