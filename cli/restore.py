"""``modelstream restore``: asks archived objects back by name or by list, says how far that is, and waits when told to.

Every object is asked back once: what is under way already, by whoever, is only waited for.  Stopping ends the wait, never a restore.
"""

from __future__ import annotations

import argparse
import dataclasses
import glob
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .bars import progress_bar
from .output import DONE, INCOMPLETE, count_text, duration_text, print_json, size_text, time_text, warn
from .places import add_origin_option, open_named_origins, read_config, state_directory
from .select import Selection, add_selection, list_selected, nearest, selected, selection_of
from .tables import Column, print_table

if TYPE_CHECKING:
    from ..cache.restores import Restores
    from ..storage.errors import ModelStreamError
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin
    from ..storage.restore import ArchiveState

EXAMPLES = """
modelstream restore checkpoints/sdxl.safetensors --wait
modelstream restore --list models.txt --tier Bulk --days 7 --dry-run
modelstream restore 'loras/2024-*' --max-cost 0.50
modelstream restore --status
"""

AT_ONCE = 8
POLL_S = 0.2
EXPIRING_S = 24 * 3600.0

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class Row:
    """One object.  cost None: no price is known; until_s 0: not known or none"""

    obj: RemoteObject
    state: ArchiveState | None = None
    error: ModelStreamError | None = None
    cost: float | None = None
    expected_s: float = 0.0
    asked_s: float = 0.0
    asked_now: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    parser.add_argument("--list", type=Path, metavar="FILE", help="names or patterns, one a line; or a warm set (TOML, JSON) or a workflow")
    parser.add_argument(
        "--status", action="store_true", help="ask nothing back, say how far it is; without names: of all that was asked from here"
    )
    parser.add_argument("--wait", action="store_true", help="until everything can be read")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="stop waiting after that; the restores go on")
    parser.add_argument("--tier", choices=("Standard", "Bulk", "Expedited"), help="default: [restore] tier of the configuration")
    parser.add_argument("--days", type=int, metavar="N", help="for how long the copies stay (default: [restore] days)")
    parser.add_argument("--max-cost", type=float, metavar="SUM", help="of one object: leave out what costs more or has no known price")
    parser.add_argument("--dry-run", action="store_true", help="say what would be asked back and what it costs")


def run(options: argparse.Namespace) -> int:
    from ..storage.errors import ConfigError

    if not (options.patterns or options.list or options.folder or options.status):
        raise ConfigError("no object is named", next_step="give names, --list FILE or --folder NAME; --status shows what was asked back")
    if options.days is not None and not 1 <= options.days <= 365:
        raise ConfigError("--days must be from 1 to 365")
    origins = open_named_origins(options)
    restores = _restores(options, origins)
    objects = _objects(options, origins, restores)
    rows = _each(objects, lambda obj: _look(restores, obj, options))
    if not options.status and not options.dry_run:
        _each([row for row in rows if row.state is not None and row.state.phase == "archived"], lambda row: _ask(restores, row))
    late = options.wait and not options.dry_run and not _wait(restores, rows, options)
    for row in rows:
        row.asked_s = row.asked_s or _asked_s(restores, row.obj)
    _print(rows, options)
    failed = [row.error for row in rows if row.error is not None]
    for error in failed:
        warn(f"modelstream: {error}")
    return INCOMPLETE if failed or late else DONE


def _restores(options: argparse.Namespace, origins: Sequence[Origin]) -> Restores:
    from ..cache.restores import Restores
    from ..cache.restores_asked import AskedBack
    from ..cache.state_file import StateFile
    from ..storage.events import EventBus

    configured = read_config(options).restore
    settings = dataclasses.replace(
        configured,
        tier=options.tier or configured.tier,
        days=options.days or configured.days,
        max_cost=options.max_cost,
    )
    asked = AskedBack(StateFile(state_directory(options.comfyui) / "restores.json"))
    return Restores(settings, {origin.name: origin for origin in origins}, EventBus(), asked)


def _objects(options: argparse.Namespace, origins: Sequence[Origin], restores: Restores) -> list[RemoteObject]:
    chosen = list(_selections(options, origins))
    if not chosen:  # --status of what was asked back from here
        by_name = {origin.name: origin for origin in origins}
        names = [_exactly(by_name[a.origin], a.key) for a in restores.asked.all() if a.origin in by_name]
        return list(list_selected(origins, Selection(tuple(names)))) if names else []
    found = [obj for selection in chosen for obj in nearest(selected(origins, selection), origins)]
    return list(dict.fromkeys(found))


def _exactly(origin: Origin, key: str) -> str:
    """A pattern for this one object, also where its name has what looks like wildcards."""
    return f"{origin.name}:{glob.escape(key.removeprefix(origin.prefix))}"


def _selections(options: argparse.Namespace, origins: Sequence[Origin]) -> Iterable[Selection]:
    if options.patterns or options.folder:
        yield selection_of(options)
    if options.list is None:
        return
    if options.list.suffix.lower() in (".toml", ".json"):
        from .sets import read_set

        by_name = {origin.name: origin for origin in origins}
        for model in read_set(options.list).models:
            if not model.key:
                yield Selection((glob.escape(model.name),), model.folder)
            elif model.origin in by_name:
                yield Selection((_exactly(by_name[model.origin], model.key),))
        return
    lines = [line.strip() for line in _text(options.list).splitlines()]
    patterns = tuple(line for line in lines if line and not line.startswith("#"))
    if patterns:
        yield Selection(patterns)


def _text(path: Path) -> str:
    from ..storage.errors import ConfigError

    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} cannot be read", cause=getattr(error, "strerror", "") or "it is not UTF-8 text") from None


def _each(items: Sequence[T], do: Callable[[T], Row]) -> list[Row]:
    if not items:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(do, items))


def _look(restores: Restores, obj: RemoteObject, options: argparse.Namespace) -> Row:
    """One HEAD, only where the listing names a class from which something may have to be asked back."""
    from ..storage.errors import ModelStreamError
    from ..storage.restore import ARCHIVES, READABLE, ArchiveState

    row = Row(obj)
    if obj.storage_class not in ARCHIVES and obj.storage_class != "INTELLIGENT_TIERING":
        row.state = ArchiveState(READABLE, obj.storage_class, obj.size_bytes, obj.id.version)
        return row
    try:
        row.state = restores.look(obj)
    except ModelStreamError as error:
        row.error = error
        return row
    if not row.state.can_be_read:
        row.cost, row.expected_s = restores.cost(obj, row.state), restores.expected_s(obj, row.state)
    return row


def _ask(restores: Restores, row: Row) -> Row:
    from ..storage.errors import ModelStreamError

    assert row.state is not None
    try:
        row.state = restores.ask(row.obj, row.state)
        row.asked_now, row.expected_s = True, restores.expected_s(row.obj, row.state)
    except ModelStreamError as error:
        row.error = error
    return row


def _asked_s(restores: Restores, obj: RemoteObject) -> float:
    known = restores.asked.of(obj.origin, obj.id.key)
    return known.at_s if known else 0.0


def _wait(restores: Restores, rows: Sequence[Row], options: argparse.Namespace) -> bool:
    """Looks at each again and again, ever more rarely.  False when the time was up before all could be read."""
    from ..cache.restores import LASTING, poll_s
    from ..storage.errors import ModelStreamError

    until_s = float("inf") if options.timeout is None else time.monotonic() + options.timeout
    waiting = {id(row): row for row in rows if row.error is None and row.state is not None and not row.state.can_be_read}
    due_s = dict.fromkeys(waiting, time.monotonic())
    tries = dict.fromkeys(waiting, 0)
    with progress_bar(options, len(waiting), unit=" objects", title="restoring") as show:
        total = len(waiting)
        while waiting:
            now_s = time.monotonic()
            for number, row in list(waiting.items()):
                if now_s < due_s[number]:
                    continue
                try:
                    row.state = restores.look(row.obj)
                except LASTING as error:
                    row.error = error
                except ModelStreamError:
                    pass  # a server that does not answer ends no wait of hours
                tries[number] += 1
                due_s[number] = time.monotonic() + poll_s(tries[number])
                if row.error is not None or row.state is None or row.state.can_be_read:
                    del waiting[number]
            show(total - len(waiting), "")
            if waiting and time.monotonic() >= until_s:
                return False
            time.sleep(POLL_S if waiting else 0)
    return True


def _print(rows: Sequence[Row], options: argparse.Namespace) -> None:
    if options.json:
        print_json([_json(row) for row in rows])
        return
    columns = ("state", "class", Column("size", right=True), Column("at most", right=True), Column("cost", right=True), "name")
    print_table(columns, (_cells(row, options) for row in rows))
    costs = [row.cost for row in rows if row.cost is not None and (row.asked_now or options.dry_run)]
    would = "would be asked back" if options.dry_run else "asked back now"
    count = sum(row.asked_now or (options.dry_run and row.state is not None and row.state.phase == "archived") for row in rows)
    if not options.status:
        warn(f"{count_text(count, 'object')} {would}, about {sum(costs):.2f} by the price list")


def _cells(row: Row, options: argparse.Namespace) -> tuple[str, ...]:
    state = row.state
    if state is None:
        return ("failed", row.obj.storage_class, size_text(row.obj.size_bytes), "", "", row.obj.id.key)
    words = {"readable": "can be read", "archived": "archived", "ongoing": "being restored", "restored": "restored"}
    said = "failed" if row.error is not None else words[state.phase]
    if state.phase == "restored" and state.expires_s:
        left_s = state.expires_s - time.time()
        said = f"until {time_text(state.expires_s)}" if left_s > EXPIRING_S else f"expires in {duration_text(max(0.0, left_s))}"
    left_s = max(0.0, row.expected_s - (time.time() - row.asked_s if row.asked_s else 0.0)) if row.expected_s else 0.0
    most = duration_text(left_s) if left_s and not state.can_be_read else ""
    cost = "" if state.can_be_read else "?" if row.cost is None else f"{row.cost:.2f}"
    return (said, state.storage_class, size_text(state.size_bytes), most, cost, row.obj.subject)


def _json(row: Row) -> dict[str, object]:
    state = row.state
    return {
        "origin": row.obj.origin,
        "key": row.obj.id.key,
        "size_bytes": row.obj.size_bytes,
        "storage_class": state.storage_class if state else row.obj.storage_class,
        "state": state.phase if state else None,
        "asked_now": row.asked_now,
        "asked_s": row.asked_s or None,
        "expected_s": row.expected_s or None,
        "until_s": (state.expires_s or None) if state else None,
        "cost": row.cost,
        "error": {"code": row.error.code, "message": str(row.error)} if row.error else None,
    }
