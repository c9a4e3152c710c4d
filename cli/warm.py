"""``modelstream warm``: fetches a warm set onto the SSD, for an image build or an init container.

Joins what another process fetches, resumes what an earlier run left, and fetches nothing that is there.  RAM belongs to a
process: ``--tier ram`` asks the running ComfyUI to fill its own (`warm_ram`), and its [boot] section what it fills at start.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.prefetch_set import find_all, plain_view
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .bars import progress_bar
from .output import DONE, INCOMPLETE, print_json, say, shown, size_text, warn
from .places import opened_runtime
from .running import add_server_option
from .sets import read_set

if TYPE_CHECKING:
    from ..cache.warming import Warming
    from ..hooks.runtime import Runtime

POLL_S = 0.2

EXAMPLES = """
modelstream warm set.toml --comfyui /srv/comfyui
modelstream warm workflow.json --dry-run
modelstream warm set.toml --timeout 600 --json
modelstream warm set.toml --tier ram --server http://127.0.0.1:8188
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a warm set (TOML or JSON), a workflow, or a prompt in API format")
    parser.add_argument("--tier", choices=("ssd", "ram"), default="ssd", help="ram: of the running ComfyUI (default: ssd, without one)")
    add_server_option(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after that; what has landed stays")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched")


def run(options: argparse.Namespace) -> int:
    warm_set = read_set(options.manifest)
    with opened_runtime(options) as runtime:
        objects, missing = find_all(warm_set, runtime.catalog, plain_view)
        too_large, fitting = ([], list(objects)) if options.tier == "ram" else _that_fit(runtime, objects)
        outcome = {
            "objects": len(objects),
            "size_bytes": sum(obj.size_bytes for obj in objects),
            "missing": list(missing),
            "no_room": [obj.subject for obj in too_large],
        }
        if options.dry_run:
            outcome["would_fetch"] = [obj.subject for obj in fitting if not runtime.cache.is_on_disk(obj)]
        elif options.tier == "ram":
            from .warm_ram import fetch

            outcome |= fetch(fitting, options)
        else:
            outcome |= _fetch(runtime, fitting, options)
    _say(outcome, "in RAM" if options.tier == "ram" else "on the SSD", as_json=options.json)
    return INCOMPLETE if missing or too_large or outcome.get("failed") or outcome.get("timed_out") else DONE


def _that_fit(runtime: Runtime, objects: tuple[RemoteObject, ...]) -> tuple[list[RemoteObject], list[RemoteObject]]:
    """(too large, fitting): the set's order decides, so that its end never displaces its beginning."""
    budget = runtime.cache.snapshot().ssd.budget_bytes
    left = float("inf") if budget is None else budget
    too_large, fitting = [], []
    for obj in objects:
        if obj.size_bytes <= left:
            left -= obj.size_bytes
            fitting.append(obj)
        else:
            too_large.append(obj)
    return too_large, fitting


def _fetch(runtime: Runtime, objects: list[RemoteObject], options: argparse.Namespace) -> dict[str, Any]:
    started_s = time.monotonic()
    warming = runtime.cache.warm(objects, tier="ssd", priority=Priority.FOREGROUND)
    try:
        timed_out = _watch(warming, options, started_s)
    except BaseException:
        warming.cancel()
        raise
    if timed_out:
        warming.cancel()
        warming.wait(5.0)
    else:
        left_s = None if options.timeout is None else max(1.0, options.timeout - (time.monotonic() - started_s))
        runtime.cache.wait_mirrored(left_s)
    progress = warming.progress()
    return {
        "done": progress.done,
        "wire_bytes": warming.wire_bytes,
        "seconds": round(time.monotonic() - started_s, 3),
        "failed": [{"subject": f.subject, "code": f.code, "message": f.message} for f in progress.failures],
        "timed_out": timed_out,
    }


def _watch(warming: Warming, options: argparse.Namespace, started_s: float) -> bool:
    """Waits; True when the time is up."""
    with progress_bar(options, warming.size_bytes) as show:
        while True:
            ended = warming.wait(POLL_S)
            progress = warming.progress()
            names = " ".join(subject.rpartition("/")[2] for subject in progress.current)
            show(progress.done_bytes, f"{progress.done}/{progress.objects} {names}")
            if ended:
                break
            if options.timeout is not None and time.monotonic() - started_s > options.timeout:
                return True
    return False


def _say(outcome: dict[str, Any], where: str, *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
        return
    for subject in outcome.get("would_fetch", ()):
        say(f"would fetch {shown(subject)}")
    for name in outcome["missing"]:
        warn(f"in no bucket: {name}")
    for subject in outcome["no_room"]:
        warn(f"no room on the SSD: {subject}")
    for failure in outcome.get("failed", ()):
        warn(failure["message"])
    if "done" in outcome:
        late = ", time is up" if outcome["timed_out"] else ""
        say(f"{outcome['done']} of {outcome['objects']} models {where}, {size_text(outcome['wire_bytes'])} fetched{late}")
