"""``modelstream ls``: what the buckets hold, and what of it lies on this machine's SSD.

Unsorted it prints as the listings come, so a bucket of any size starts to print at once and fits into memory.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .output import DONE, INCOMPLETE, count_text, print_json_rows, size_text, time_text, warn
from .places import add_origin_option, open_named_origins
from .select import add_selection, list_selected, selection_of
from .ssd_look import SsdLook
from .tables import Column, print_table

if TYPE_CHECKING:
    from ..storage.errors import ModelStreamError
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

EXAMPLES = """
modelstream ls
modelstream ls 'checkpoints/*xl*' --sort size --reverse
modelstream ls --folder loras --json | jq -r '.[].key'
modelstream ls near:vae/ --limit 20
"""

SORTS: dict[str, Callable[[RemoteObject], Any]] = {
    "name": lambda obj: obj.id.key,
    "size": lambda obj: obj.size_bytes,
    "modified": lambda obj: obj.modified_s,
    "class": lambda obj: obj.storage_class,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    parser.add_argument("--sort", choices=tuple(SORTS), help="default: as the buckets list them, by key")
    parser.add_argument("--reverse", action="store_true", help="largest, newest or last first")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N only")
    parser.add_argument("--cached", action="store_true", help="only what lies on the SSD")


def run(options: argparse.Namespace) -> int:
    origins = open_named_origins(options)
    look = SsdLook(options)
    failures: list[ModelStreamError] = []

    def failed(origin: Origin, error: ModelStreamError) -> None:
        failures.append(error)

    objects: Iterable[RemoteObject] = list_selected(origins, selection_of(options), failed=failed)
    if options.cached:
        objects = (obj for obj in objects if look.tiers(obj))
    if options.sort or options.reverse:
        objects = sorted(objects, key=SORTS[options.sort or "name"], reverse=options.reverse)
    objects = itertools.islice(objects, options.limit)
    _print(objects, look, origins, options)
    for error in failures:
        warn(f"modelstream: {error}")
    return INCOMPLETE if failures else DONE


def _print(objects: Iterable[RemoteObject], look: SsdLook, origins: tuple[Origin, ...], options: argparse.Namespace) -> None:
    if options.json:
        print_json_rows(_json(obj, look) for obj in objects)
        return
    several = len(origins) > 1
    prefixes = {origin.name: origin.prefix for origin in origins}
    columns = (Column("size", right=True), "modified", "class", "here", *(("origin",) if several else ()), "name")
    total_bytes = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal total_bytes
        for obj in objects:
            total_bytes += obj.size_bytes
            here = ", ".join(look.tiers(obj)) + (" pinned" if look.pins.holds(obj) else "")
            origin = (obj.origin,) if several else ()
            name = obj.id.key.removeprefix(prefixes.get(obj.origin, ""))
            yield (size_text(obj.size_bytes), time_text(obj.modified_s), obj.storage_class, here.strip() or "-", *origin, name)

    count = print_table(columns, rows())
    warn(f"{count_text(count, 'object')}, {size_text(total_bytes)}")


def _json(obj: RemoteObject, look: SsdLook) -> dict[str, Any]:
    return {
        "origin": obj.origin,
        "key": obj.id.key,
        "size_bytes": obj.size_bytes,
        "modified_s": obj.modified_s,
        "storage_class": obj.storage_class,
        "etag": obj.id.version,
        "tiers": look.tiers(obj),
        "pinned": look.pins.holds(obj),
    }
