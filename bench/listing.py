"""``bench listing``: what a dropdown waits for when the buckets hold 100,000 objects, all of them in one folder."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .lister import BUCKET, lister
from .processes import CLIENT_CORE, SERVER_CORE, pinned, run_module
from .report import Check, Column, Report, at_most, median

COLUMNS = (
    Column("first ms", "first_ms"),
    Column("again ms", "again_ms"),
    Column("new ms", "after_change_ms"),
    Column("slowest", "slowest_ms"),
    Column("names", "names", ".0f"),
    Column("list s", "listing_s"),
)
OBJECTS = 100_000
LOCAL_FILES = 200
REPETITIONS = 5
LIST_LIMIT_S = 120.0

CONFIG = """
[catalog]
refresh_s = 0
[profiles.large]
endpoint = "{endpoint}"
access_key_id = "AKIABENCHBENCHBENCH0"
secret_access_key = "not-a-secret-of-anybody"
[[origins]]
bucket = "{bucket}"
"""


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.checkpoints import comfyui_path

    with lister(OBJECTS, prefix=pinned(SERVER_CORE)) as endpoint:
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for local in (0, LOCAL_FILES):
                with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as base:
                    job = {"comfyui": str(comfyui_path()), "base": base, "endpoint": endpoint, "local": local}
                    answer = run_module("bench.listing", job, core=CLIENT_CORE)
                row = {"situation": "listing", "client": "Model Stream", "setting": f"{local} local files", "repetition": repetition}
                report.add({**row, **answer})
    return report.finish(checks(report.rows))


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    settings = sorted({row["setting"] for row in rows})
    slowest = [median([r for r in rows if r["setting"] == s], "slowest_ms") for s in settings]
    worst = None if None in slowest else max((s for s in slowest if s is not None), default=None)
    counts = [row.get("names") for row in rows]
    expected = [OBJECTS + int(row["setting"].split()[0]) for row in rows]
    return [
        at_most("get_filename_list with 100,000 objects, slowest call, ms", worst, 20),
        Check("names listed", float(min((c for c in counts if c), default=0)), f">= {OBJECTS}", counts == expected),
    ]


# -- the measured process ------------------------------------------------------------------------------------------------
def child() -> None:
    job = json.load(sys.stdin)
    from .comfy_child import enter, prestartup

    base = Path(job["base"])
    directory = base / "models" / "checkpoints"
    directory.mkdir(parents=True)
    for number in range(job["local"]):
        (directory / f"local-{number:03d}.safetensors").touch()
    config = base / "user" / "__modelstream" / "config.toml"
    config.parent.mkdir(parents=True)
    config.touch(0o600)
    config.write_text(CONFIG.format(endpoint=job["endpoint"], bucket=BUCKET))
    enter(job["comfyui"], str(base))
    began_s = time.monotonic()
    prestartup()
    wait_listed()
    wait_for(lambda: (config.parent / "catalog.bin").exists())  # the last thing that the catalog does
    listing_s = time.monotonic() - began_s
    print(json.dumps({"listing_s": listing_s, **measured(directory)}), flush=True)


def wait_listed() -> None:
    from modelstream.hooks.boot import extension

    runtime = extension().runtime
    assert runtime is not None
    catalog = runtime.catalog
    wait_for(lambda: all(state.objects == OBJECTS and not state.refreshing for state in catalog.states()))


def wait_for(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LIST_LIMIT_S / 0.02)):
        if happened():
            return
        pause.wait(0.02)
    raise TimeoutError("the catalog was not listed in time")


def measured(directory: Path) -> dict[str, float]:
    import folder_paths

    def call_ms() -> float:
        start_s = time.perf_counter()
        folder_paths.get_filename_list("checkpoints")
        return (time.perf_counter() - start_s) * 1e3

    first = call_ms()
    again = sorted(call_ms() for _ in range(20))
    (directory / "new.safetensors").touch()  # ComfyUI looks at its folders again, and both lists are merged again
    changed = call_ms()
    (directory / "new.safetensors").unlink()
    names = len(folder_paths.get_filename_list("checkpoints"))
    return {
        "first_ms": first,
        "again_ms": again[10],
        "after_change_ms": changed,
        "slowest_ms": max(first, again[-1], changed),
        "names": names,
    }


if __name__ == "__main__":
    child()
