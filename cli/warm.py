"""``modelstream warm``: fetches a warm set onto the SSD, for an image build or an init container.

Joins what another process fetches, resumes what an earlier run left, and fetches nothing that is there.  RAM belongs to a
process: what should be in ComfyUI's is named in its [boot] section.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.prefetch_set import find_all, plain_view
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .places import opened_runtime
from .sets import read_set

if TYPE_CHECKING:
    from ..cache.warming import Warming, WarmProgress
    from ..hooks.runtime import Runtime

POLL_S = 0.2


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a warm set (TOML or JSON), a workflow, or a prompt in API format")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end instead of a progress bar")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after that; what has landed stays")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched")


def run(options: argparse.Namespace) -> int:
    warm_set = read_set(options.manifest)
    with opened_runtime(options) as runtime:
        objects, missing = find_all(warm_set, runtime.catalog, plain_view)
        too_large, fitting = _that_fit(runtime, objects)
        outcome = {
            "objects": len(objects),
            "size_bytes": sum(obj.size_bytes for obj in objects),
            "missing": list(missing),
            "no_room": [obj.subject for obj in too_large],
        }
        if options.dry_run:
            outcome["would_fetch"] = [obj.subject for obj in fitting if not runtime.cache.is_on_disk(obj)]
        else:
            outcome |= _fetch(runtime, fitting, options)
    _say(outcome, as_json=options.json)
    return 1 if missing or too_large or outcome.get("failed") or outcome.get("timed_out") else 0


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
    with _bar(warming, quiet=options.json) as show:
        while not warming.wait(POLL_S):
            show(warming.progress())
            if options.timeout is not None and time.monotonic() - started_s > options.timeout:
                return True
        show(warming.progress())
    return False


def _tqdm() -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


@contextlib.contextmanager
def _bar(warming: Warming, *, quiet: bool) -> Iterator[Any]:
    """tqdm, which ComfyUI brings, on a terminal; where there is none, or no tqdm, the last lines say all there is to say."""
    tqdm = None if quiet or not sys.stderr.isatty() else _tqdm()
    if tqdm is None:
        yield lambda progress: None
        return
    with tqdm(total=warming.size_bytes, unit="B", unit_scale=True, unit_divisor=1000) as bar:

        def show(progress: WarmProgress) -> None:
            bar.update(max(0, progress.done_bytes - bar.n))
            bar.set_description(f"{progress.done}/{progress.objects} {' '.join(s.rpartition('/')[2] for s in progress.current)[:40]}")

        yield show


def _say(outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome))
        return
    for subject in outcome.get("would_fetch", ()):
        print(f"would fetch {subject}")
    for name in outcome["missing"]:
        print(f"in no bucket: {name}", file=sys.stderr)
    for subject in outcome["no_room"]:
        print(f"no room on the SSD: {subject}", file=sys.stderr)
    for failure in outcome.get("failed", ()):
        print(failure["message"], file=sys.stderr)
    if "done" in outcome:
        late = ", time is up" if outcome["timed_out"] else ""
        print(f"{outcome['done']} of {outcome['objects']} models on the SSD, {outcome['wire_bytes'] / 1e9:.2f} GB fetched{late}")
