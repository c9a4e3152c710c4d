"""``modelstream pull``: objects onto the SSD tier, or into a folder; resumed where an earlier run stopped, verified end to end.

Into a folder: the objects land in a tier of their own below it (``.modelstream-pull``), with its journal and checksums, and are
moved to their names when they are whole.  A file that is there already is compared, and only overwritten when told to.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.errors import ConfigError, ModelStreamError
from ..storage.landing import Priority
from ..storage.people import size_text
from .bars import progress_bar
from .output import DONE, INCOMPLETE, count_text, print_json, rate_text, say, warn
from .places import add_origin_option, open_named_origins, opened_cache, read_config, state_directory
from .pull_files import folded, place_of, put_in_place
from .select import add_selection, nearest, selected, selection_of
from .stated import RIGHT, check, read_file, stated_of
from .tables import Column, print_table

if TYPE_CHECKING:
    from ..cache.store import Cache
    from ..storage.config import Config
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

EXAMPLES = """
modelstream pull sd_xl_base_1.0.safetensors
modelstream pull 'loras/*' --to /srv/models
modelstream pull near:checkpoints/ --to . --dry-run --json
"""

STAGING = ".modelstream-pull"
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Pulled:
    """result: "fetched", "there" (it was, and is right), "planned", "refused" (a name or a file is in the way) or "failed" """

    subject: str
    size_bytes: int
    result: str
    path: str = ""
    message: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser, required=True)
    add_origin_option(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="a folder, where each object keeps its name (default: the SSD tier)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that differ")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched")


def run(options: argparse.Namespace) -> int:
    origins = open_named_origins(options)
    objects = nearest(selected(origins, selection_of(options)), origins)
    started_s = time.monotonic()
    results, wire_bytes = _onto_ssd(objects, options) if options.to is None else _into_folder(objects, origins, options)
    _print(results, wire_bytes, time.monotonic() - started_s, options)
    return INCOMPLETE if any(one.result in ("failed", "refused") for one in results) else DONE


# -- the SSD tier --------------------------------------------------------------------------------------------------------
def _onto_ssd(objects: list[RemoteObject], options: argparse.Namespace) -> tuple[list[Pulled], int]:
    with opened_cache(read_config(options), state_directory(options.comfyui)) as cache:
        there = {obj for obj in objects if cache.file_of(obj) is not None}
        missing = [obj for obj in objects if obj not in there]
        if options.dry_run:
            return [Pulled(o.subject, o.size_bytes, "there" if o in there else "planned") for o in objects], 0
        failures, wire_bytes = _fetch(cache, missing, options)
    results = [
        Pulled(obj.subject, obj.size_bytes, "there" if obj in there else "failed" if obj.subject in failures else "fetched", "", message)
        for obj in objects
        for message in (failures.get(obj.subject, ""),)
    ]
    return results, wire_bytes


# -- a folder ------------------------------------------------------------------------------------------------------------
def _into_folder(objects: list[RemoteObject], origins: tuple[Origin, ...], options: argparse.Namespace) -> tuple[list[Pulled], int]:
    folder: Path = options.to
    if folder.exists() and not folder.is_dir():
        raise ConfigError("this is no folder", subject=folder.name, next_step="name a folder with --to")
    by_name = {origin.name: origin for origin in origins}
    places, results = _places(objects, by_name, options)
    if options.dry_run or not places:
        return [*results, *(Pulled(o.subject, o.size_bytes, "planned", str(path)) for o, path in places.items())], 0
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / STAGING
    with opened_cache(_staging_config(read_config(options)), staging) as cache:
        try:
            failures, wire_bytes = _fetch(cache, list(places), options)
        finally:
            placed = list(_put(cache, places))  # also after Ctrl-C: what is whole is of use
    results += [
        one if one.result != "failed" or not failures.get(one.subject) else replace(one, message=failures[one.subject]) for one in placed
    ]
    if all(one.result == "fetched" for one in placed):
        shutil.rmtree(staging, ignore_errors=True)
    return results, wire_bytes


def _places(
    objects: list[RemoteObject], origins: dict[str, Origin], options: argparse.Namespace
) -> tuple[dict[RemoteObject, Path], list[Pulled]]:
    """(what is to be fetched, and where it belongs; what needs no fetching)"""
    places: dict[RemoteObject, Path] = {}
    results: list[Pulled] = []
    taken: set[str] = set()
    for obj in objects:
        origin = origins[obj.origin]
        name = obj.id.key.removeprefix(origin.prefix)
        path = place_of(options.to, name)
        if path is None:
            results.append(Pulled(obj.subject, obj.size_bytes, "refused", "", "its name cannot be a file's in this folder"))
        elif folded(name) in taken:
            message = "another object's name is the same but for upper and lower case or the form of a letter"
            results.append(Pulled(obj.subject, obj.size_bytes, "refused", str(path), message))
        else:
            taken.add(folded(name))
            known = _already(path, obj, origin, options)
            if known is None:
                places[obj] = path
            else:
                results.append(known)
    return places, results


def _already(path: Path, obj: RemoteObject, origin: Origin, options: argparse.Namespace) -> Pulled | None:
    """What there is to say of a file that has the name already; None where there is none, or it may be replaced."""
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_dir() or path.is_symlink():
        what = "a link" if path.is_symlink() else "a folder"
        return Pulled(obj.subject, obj.size_bytes, "refused", str(path), f"{what} has its name")
    try:
        if path.stat().st_size == obj.size_bytes and check(stated_of(origin, obj.id.key), read_file(str(path)))[0] == RIGHT:
            return Pulled(obj.subject, obj.size_bytes, "there", str(path))
    except OSError as error:
        return Pulled(obj.subject, obj.size_bytes, "failed", str(path), error.strerror or "the file cannot be read")
    except ModelStreamError as error:
        return Pulled(obj.subject, obj.size_bytes, "failed", str(path), str(error))
    if options.overwrite:
        return None
    return Pulled(obj.subject, obj.size_bytes, "refused", str(path), "a file that differs has its name; --overwrite replaces it")


def _put(cache: Cache, places: dict[RemoteObject, Path]) -> Iterator[Pulled]:
    files = {obj: cache.file_of(obj) for obj in places}
    names = Counter(file for file in files.values() if file is not None)
    for obj, path in places.items():
        file = files[obj]
        if file is None:
            yield Pulled(obj.subject, obj.size_bytes, "failed", str(path), "it was not fetched")
            continue
        names[file] -= 1
        try:
            put_in_place(Path(file), path, obj.modified_s, keep=names[file] > 0)
            yield Pulled(obj.subject, obj.size_bytes, "fetched", str(path))
        except ModelStreamError as error:
            yield Pulled(obj.subject, obj.size_bytes, "failed", str(path), str(error))


def _staging_config(config: Config) -> Config:
    """Only the disk: no memory is taken for what nobody loads here, and nothing is evicted from under the command."""
    from ..storage.config_memory import RamConfig
    from ..storage.config_ssd import SsdConfig

    return replace(config, ssd=SsdConfig(free_floor_gb=0.0), ram=RamConfig(budget_gb=0))


# -- both ------------------------------------------------------------------------------------------------------------------
def _fetch(cache: Cache, objects: list[RemoteObject], options: argparse.Namespace) -> tuple[dict[str, str], int]:
    """(messages of those that failed, by subject; bytes on the wire)"""
    warming = cache.warm(objects, tier="ssd", priority=Priority.FOREGROUND)
    try:
        with progress_bar(options, warming.size_bytes) as show:
            ended = False
            while not ended:
                ended = warming.wait(POLL_S)
                progress = warming.progress()
                names = " ".join(subject.rpartition("/")[2] for subject in progress.current)
                show(progress.done_bytes, f"{progress.done}/{progress.objects} {names}")
    except BaseException:
        warming.cancel()
        with contextlib.suppress(KeyboardInterrupt):
            warming.wait(5.0)
        raise
    return {one.subject: one.message for one in warming.progress().failures}, warming.wire_bytes


def _print(results: list[Pulled], wire_bytes: int, seconds: float, options: argparse.Namespace) -> None:
    if options.json:
        print_json({"objects": results, "wire_bytes": wire_bytes, "seconds": seconds})
        return
    print_table([Column("size", right=True), "result", "object"], ((size_text(o.size_bytes), o.result, o.subject) for o in results))
    for one in results:
        if one.message:
            warn(one.message if one.subject in one.message else f"{one.subject}: {one.message}")
    done = sum(one.result in ("fetched", "there") for one in results)
    rate = f" at {rate_text(wire_bytes / seconds)}" if wire_bytes else ""
    say(f"{done} of {count_text(len(results), 'object')}, {size_text(wire_bytes)} fetched{rate}")
