"""``modelstream mirror``: copies models from far origins to the near one in front of them, ahead of time.

From bucket to bucket: this machine's disk and memory take no copy.  What is there in the right version is left; what an earlier
run began goes on; what another worker is fetching is left to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..storage.errors import ConfigError, ModelStreamError
from .bars import progress_bar
from .output import DONE, INCOMPLETE, duration_text, print_json, say, shown, size_text, warn
from .places import opened_runtime
from .select import add_selection, selection_of

if TYPE_CHECKING:
    from ..cache.mirror_all import Copied, Copier, Task
    from ..cache.near import Mirror
    from ..hooks.runtime import Runtime
    from ..storage.objects import RemoteObject

EXAMPLES = """
modelstream mirror --all --dry-run
modelstream mirror checkpoints/sdxl loras/detail.safetensors
modelstream mirror --folder checkpoints --to rack --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="everything that the far origins hold")
    parser.add_argument("--to", default="", metavar="ORIGIN", help="the near origin that is meant, where several have mirror = true")
    parser.add_argument("--dry-run", action="store_true", help="say what would be copied, and what would leave for it")


def run(options: argparse.Namespace) -> int:
    if not options.patterns and not options.folder and not options.all:
        raise ConfigError("nothing to copy was named", next_step="name models or a --folder, or say --all")
    with opened_runtime(options) as runtime:
        mirror, mirror_objects = _chosen(runtime, options)
        tasks = _look(runtime, mirror, mirror_objects)
        if options.dry_run:
            return _dry_run(runtime, mirror, tasks, options)
        return _copy(runtime, mirror, tasks, options)


def _chosen(runtime: Runtime, options: argparse.Namespace) -> tuple[Mirror, list[RemoteObject]]:
    mirrors = _mirrors(runtime)
    if options.to:
        mirrors = [mirror for mirror in mirrors if mirror.bucket.name == options.to]
    if len(mirrors) != 1:
        step = "write mirror = true in an origin (docs/fleet.md)" if not mirrors else "name one with --to"
        raise ConfigError(f"{len(mirrors) or 'no'} origins take copies", subject=options.to, next_step=step)
    (mirror,) = mirrors
    selection = selection_of(options)
    found = []
    for listing in runtime.catalog.listings():
        if listing.origin in mirror.far_prefixes:
            fits = selection.test(runtime.origins[listing.origin].config)
            found += [obj for obj in listing.objects() if fits(obj.id.key)]
    if not found:
        raise ConfigError("no object fits", next_step="`modelstream ls` shows what there is")
    return mirror, found


def _mirrors(runtime: Runtime) -> list[Mirror]:
    from ..cache.near_open import open_mirrors

    return open_mirrors(tuple(runtime.origins.values()), runtime.bus)


def _look(runtime: Runtime, mirror: Mirror, objects: Sequence[RemoteObject]) -> list[Task]:
    from ..cache.mirror_all import look_at

    tasks: list[Task] = []
    for name in mirror.far_prefixes:
        tasks += look_at(mirror.bucket, runtime.origins[name], [obj for obj in objects if obj.origin == name])
    return tasks


# -- doing ---------------------------------------------------------------------------------------------------------------
def _copy(runtime: Runtime, mirror: Mirror, tasks: list[Task], options: argparse.Namespace) -> int:
    copiers = _copiers(runtime, mirror)
    todo = [task for task in tasks if task.to_do]
    done: list[Copied] = []
    before_bytes = 0
    with progress_bar(options, sum(task.obj.size_bytes for task in todo)) as show:
        for number, task in enumerate(todo, 1):
            at, what = before_bytes, f"{number}/{len(todo)} {task.obj.basename}"
            done.append(copiers[task.obj.origin].copy(task, lambda count, at=at, what=what: show(at + count, what)))  # type: ignore[misc]
            before_bytes += task.obj.size_bytes
            show(before_bytes, what)
    return _say(mirror, tasks, done, options)


def _copiers(runtime: Runtime, mirror: Mirror) -> dict[str, Copier]:
    from ..cache.mirror_all import Copier
    from ..cache.near_open import open_budget
    from ..cache.speeds import Speeds
    from ..cache.state_file import StateFile

    budget = open_budget(runtime.config, runtime.catalog, runtime.bus, Speeds())
    journal = StateFile(runtime.places.state / "mirror-uploads.json")
    return {name: Copier(mirror, runtime.origins[name], budget, journal) for name in mirror.far_prefixes}


def _say(mirror: Mirror, tasks: list[Task], done: list[Copied], options: argparse.Namespace) -> int:
    bad = [one for one in done if one.outcome in ("failed", "no_room")] + [task for task in tasks if task.state == "impossible"]
    if options.json:
        print_json({"to": mirror.bucket.name, "objects": [_row(one) for one in done], "kept": [_kept(t) for t in tasks if not t.to_do]})
        return INCOMPLETE if bad else DONE
    for one in done:
        if one.error is not None:
            warn(str(one.error))
        elif one.outcome == "copied":
            say(f"copied {shown(one.obj.subject)}: {size_text(one.obj.size_bytes)} in {duration_text(one.seconds)}")
        else:
            warn(f"{one.obj.subject}: {_WHY[one.outcome]}")
    for task in tasks:
        if task.state in _WHY:
            warn(f"{task.obj.subject}: {_WHY[task.state]}")
    copied = [one for one in done if one.outcome == "copied"]
    there = sum(task.state == "there" for task in tasks)
    say(f"{len(copied)} copied to {mirror.bucket.name} ({size_text(sum(c.obj.size_bytes for c in copied))}), {there} were there")
    return INCOMPLETE if bad else DONE


_WHY = {
    "fetching": "another worker is fetching it",
    "no_room": "no room: what would have to leave is worth more",
    "own": "something of your own has its name there; it stays",
    "impossible": "its key would be too long there",
}


def _row(one: Copied) -> dict[str, Any]:
    row = {"subject": one.obj.subject, "size_bytes": one.obj.size_bytes, "outcome": one.outcome, "seconds": round(one.seconds, 3)}
    return row if one.error is None else {**row, "code": one.error.code, "message": str(one.error)}


def _kept(task: Task) -> dict[str, Any]:
    return {"subject": task.obj.subject, "size_bytes": task.obj.size_bytes, "state": task.state}


# -- only saying ---------------------------------------------------------------------------------------------------------
def _dry_run(runtime: Runtime, mirror: Mirror, tasks: list[Task], options: argparse.Namespace) -> int:
    from ..cache.near_open import open_budget
    from ..cache.speeds import Speeds

    todo = [task for task in tasks if task.to_do]
    needed = sum(task.obj.size_bytes for task in todo)
    leaving: list[dict[str, Any]] = []
    if mirror.budget_bytes is not None and todo:
        try:
            plan = open_budget(runtime.config, runtime.catalog, runtime.bus, Speeds()).plan(mirror, "", min(needed, mirror.budget_bytes))
        except ModelStreamError as error:
            warn(str(error))
        else:
            leaving = [{"key": v.digest, "size_bytes": v.size_bytes, "why": plan.why(v)} for v in plan.victims]
    if options.json:
        rows = [_kept(task) for task in tasks]
        print_json({"to": mirror.bucket.name, "objects": rows, "copy_bytes": needed, "leaving": leaving})
        return DONE
    for task in todo:
        say(f"would copy {shown(task.obj.subject)}: {size_text(task.obj.size_bytes)}{', over an older version' * (task.state == 'stale')}")
    for one in leaving:
        say(f"would leave: {shown(one['key'])}, {size_text(one['size_bytes'])}: {one['why']}")
    say(f"{len(todo)} of {len(tasks)} would be copied to {mirror.bucket.name}: {size_text(needed)}")
    return DONE
