"""``modelstream compress``: makes compressed forms of objects, from bucket to bucket, or says for which it would pay.

The form lies beside the object as NAME.msframes and is used by itself where the link is slower than decoding.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.errors import ConfigError, ModelStreamError, ObjectMissing
from ..storage.layout import FORM
from .bars import progress_bar
from .output import DONE, INCOMPLETE, duration_text, print_json, rate_text, say, shown, size_text, warn
from .places import add_origin_option, open_named_origins, state_directory
from .select import add_selection, selected, selection_of
from .tables import Column, print_table

if TYPE_CHECKING:
    from ..cache.compressing import Compressed, Estimate
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

EXAMPLES = """
modelstream compress --plan --folder checkpoints
modelstream compress --plan checkpoints/flux.safetensors --link-mbit 1000
modelstream compress checkpoints/flux.safetensors
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    parser.add_argument("--plan", action="store_true", help="only say how far each object shrinks, from samples, and whether it pays")
    parser.add_argument("--link-mbit", type=float, metavar="N", help="--plan: the link's rate instead of the samples'")
    parser.add_argument("--always", action="store_true", help="also what hardly shrinks")


def run(options: argparse.Namespace) -> int:
    from ..cache.planes import available

    if not options.patterns and not options.folder:
        raise ConfigError("nothing to compress was named", next_step="name objects, a directory or a --folder")
    if not available():
        raise ConfigError("the package zstandard is not installed", next_step="install zstandard (and numpy) into this Python")
    origins = {origin.name: origin for origin in open_named_origins(options)}
    found = selected(tuple(origins.values()), selection_of(options))
    objects = [obj for obj in found if not obj.id.key.endswith(FORM) and obj.size_bytes]
    return _plan(origins, objects, options) if options.plan else _compress(origins, objects, options)


# -- saying whether it pays ----------------------------------------------------------------------------------------------
def _plan(origins: dict[str, Origin], objects: list[RemoteObject], options: argparse.Namespace) -> int:
    from ..cache.compressing import estimate
    from ..cache.forms import DECODE_BYTES_PER_S, price

    rows, failed = [], False
    cores = _cores()
    with progress_bar(options, len(objects), unit=" objects") as show:
        for number, obj in enumerate(objects, 1):
            try:
                one = estimate(origins[obj.origin], obj)
            except ModelStreamError as error:
                warn(str(error))
                failed = True
                continue
            link = options.link_mbit * 125_000 if options.link_mbit else one.read_bytes_per_s
            rows.append((one, link, price(obj.size_bytes, one.stored_bytes, link, DECODE_BYTES_PER_S * cores)))
            show(number, obj.basename)
    if options.json:
        print_json([_plan_row(one, link, cost) for one, link, cost in rows])
    else:
        columns = [Column("pays"), *(Column(title, right=True) for title in ("stored", "link", "plain", "form"))]
        lines = [
            (
                "yes" if cost.pays else "no",
                f"{one.ratio:.1%}",
                rate_text(link),
                duration_text(cost.plain_s),
                duration_text(cost.form_s),
                ", ".join(one.methods),
                one.obj.subject,
            )
            for one, link, cost in rows
        ]
        print_table([*columns, "stored as", "object"], lines)
        paying = [one for one, _, cost in rows if cost.pays]
        saved = sum(one.obj.size_bytes - one.stored_bytes for one in paying)
        say(f"it pays for {len(paying)} of {len(rows)}: {size_text(saved)} less to read each time all are loaded, as much more to store")
    return INCOMPLETE if failed else DONE


def _plan_row(one: Estimate, link: float, cost: Any) -> dict[str, Any]:
    return {
        "subject": one.obj.subject,
        "size_bytes": one.obj.size_bytes,
        "stored_bytes": one.stored_bytes,
        "ratio": round(one.ratio, 4),
        "stored_as": list(one.methods),
        "link_bytes_per_s": round(link),
        "plain_s": round(cost.plain_s, 3),
        "form_s": round(cost.form_s, 3),
        "pays": cost.pays,
    }


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- doing it ------------------------------------------------------------------------------------------------------------
def _compress(origins: dict[str, Origin], objects: list[RemoteObject], options: argparse.Namespace) -> int:
    from ..cache.compressing import Compressor

    folder = state_directory(options.comfyui) / "compressing"
    done: list[Compressed] = []
    there: list[RemoteObject] = []
    failed: list[tuple[RemoteObject, ModelStreamError]] = []
    before_bytes = 0
    with progress_bar(options, sum(obj.size_bytes for obj in objects)) as show:
        for obj in objects:
            at, origin = before_bytes, origins[obj.origin]
            try:
                old = _old_form(origin, obj)
                if old is None:
                    there.append(obj)
                else:
                    tell = lambda count, at=at, obj=obj: show(at + count, obj.basename)  # noqa: E731
                    done.append(Compressor(origin, folder).compress(obj, tell, replaces=old, always=options.always))
            except ModelStreamError as error:
                failed.append((obj, error))
            before_bytes += obj.size_bytes
    return _say(done, there, failed, options)


def make_form(origin: Origin, key: str, state: Path, tell: Callable[[int], None]) -> str:
    """For who has just written the object; what became of it, in words.  Raises ConfigError without zstandard, and ModelStreamError."""
    from ..cache.compressing import Compressor
    from ..cache.planes import available
    from ..storage.mirror_bucket import MirrorBucket

    if not available():
        raise ConfigError("the package zstandard is not installed", next_step="install zstandard (and numpy), then `modelstream compress`")
    written = MirrorBucket(origin).look(key)
    if written is None:
        raise ObjectMissing("the object is not there", subject=origin.subject(key), next_step="push it again")
    obj = written.as_object(origin)
    old = _old_form(origin, obj)
    if old is None:
        return f"{shown(obj.subject)}: its form is there"
    return _line(Compressor(origin, state / "compressing").compress(obj, tell, replaces=old))


def _line(one: Compressed) -> str:
    figures = f"{size_text(one.obj.size_bytes)} to {size_text(one.stored_bytes)} ({one.ratio:.1%})"
    if one.outcome == "compressed":
        return f"{shown(one.obj.subject)}: {figures} in {duration_text(one.seconds)}"
    return f"{shown(one.obj.subject)}: {figures}: it hardly shrinks, nothing was written"


def _old_form(origin: Origin, obj: RemoteObject) -> str | None:
    """ETag of a form of another version, "" where there is none; None where this version's is there.

    Looked up again: a pattern that means the object need not mean its form.
    """
    from ..cache.forms import read_table
    from ..storage.errors import CorruptObject
    from ..storage.mirror_bucket import MirrorBucket

    copy = MirrorBucket(origin).look(obj.id.key + FORM)
    if copy is None:
        return ""
    try:
        table, _ = read_table(origin, copy.as_object(origin))
    except CorruptObject:
        return copy.head.etag
    right = (table.original.version, table.original.size_bytes) == (obj.id.version, obj.size_bytes)
    return None if right else copy.head.etag


def _say(
    done: list[Compressed], there: list[RemoteObject], failed: list[tuple[RemoteObject, ModelStreamError]], options: argparse.Namespace
) -> int:
    if options.json:
        rows = [
            {"subject": one.obj.subject, "outcome": one.outcome, "size_bytes": one.obj.size_bytes, "stored_bytes": one.stored_bytes}
            | {"ratio": round(one.ratio, 4), "frames": one.frames, "raw_frames": one.raw_frames, "seconds": round(one.seconds, 3)}
            for one in done
        ]
        rows += [{"subject": obj.subject, "outcome": "there"} for obj in there]
        rows += [{"subject": obj.subject, "outcome": "failed", "code": error.code, "message": str(error)} for obj, error in failed]
        print_json(rows)
        return INCOMPLETE if failed else DONE
    for one in done:
        say(_line(one))
    for obj in there:
        say(f"{shown(obj.subject)}: its form is there")
    for _, error in failed:
        warn(str(error))
    return INCOMPLETE if failed else DONE
