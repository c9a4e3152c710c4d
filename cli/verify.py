"""``modelstream verify``: reads objects again and compares them with what their bucket states: in the bucket, in a folder, on the SSD."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.errors import ConfigError, CorruptObject, ModelStreamError
from .bars import Show, progress_bar
from .output import DONE, INCOMPLETE, count_text, print_json, rate_text, say, size_text, warn
from .places import add_origin_option, open_named_origins, read_config
from .select import add_selection, selected, selection_of
from .stated import DAMAGED, RIGHT, UNKNOWN, Stated, check, read_file, stated_of
from .tables import Column, print_table

if TYPE_CHECKING:
    from ..storage.engine import TransferEngine
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

EXAMPLES = """
modelstream verify 'checkpoints/*'
modelstream verify --local /backup/models --json
modelstream verify --ssd sd_xl_base_1.0.safetensors
"""

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Verified:
    """result: "right", "damaged", "unknown" (the bucket states nothing to compare with), "missing" or "failed"; by: the checksum"""

    subject: str
    size_bytes: int
    result: str
    by: str = ""
    message: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", type=Path, metavar="DIR", help="the files of a folder, as `pull --to` made them")
    where.add_argument("--ssd", action="store_true", help="copies on the SSD, as `cache verify`")


def run(options: argparse.Namespace) -> int:
    if options.ssd:
        from . import cache_verify

        return cache_verify.run(options)
    if options.local is not None and not options.local.is_dir():
        raise ConfigError("there is no such folder", subject=options.local.name)
    origins = open_named_origins(options)
    objects = selected(origins, selection_of(options))
    started_s = time.monotonic()
    with progress_bar(options, sum(obj.size_bytes for obj in objects), title="checking") as show:
        results = list(_verify(objects, {origin.name: origin for origin in origins}, options, show))
    _print(results, time.monotonic() - started_s, options)
    return INCOMPLETE if any(one.result not in (RIGHT, UNKNOWN) for one in results) else DONE


def _verify(objects: list[RemoteObject], origins: dict[str, Origin], options: argparse.Namespace, show: Show) -> Iterator[Verified]:
    from ..storage.engine import TransferEngine
    from ..storage.events import EventBus

    engine, before_bytes = TransferEngine(read_config(options).transfer, EventBus()), 0
    try:
        for obj in objects:
            origin, at = origins[obj.origin], before_bytes

            def shown(done_bytes: int, at: int = at, name: str = obj.basename) -> None:
                show(at + done_bytes, name)

            try:
                stated = stated_of(origin, obj.id.key)
                if options.local is not None:
                    yield _local(obj, origin, stated, options.local, shown)
                elif "CRC64NVME" in stated.whole and not stated.sha256:
                    yield _by_transfer(engine, origin, obj, shown)
                else:
                    yield _by_stream(origin, obj, stated, shown)
            except ModelStreamError as error:
                yield Verified(obj.subject, obj.size_bytes, "failed", "", str(error))
            before_bytes += obj.size_bytes
    finally:
        engine.close()


def _by_transfer(engine: TransferEngine, origin: Origin, obj: RemoteObject, shown: Callable[[int], None]) -> Verified:
    """At full speed: the transfer compares the whole with the CRC64NVME that the server states."""
    from .discard import DiscardZone

    zone = DiscardZone()
    transfer = engine.start(origin, obj, zone)
    try:
        while not transfer.wait(POLL_S):
            shown(transfer.progress().landed_bytes)
        result = transfer.result()
    except CorruptObject as error:
        return Verified(obj.subject, obj.size_bytes, DAMAGED, "CRC64NVME", str(error))
    except BaseException:
        transfer.cancel()
        transfer.wait(5.0)
        raise
    finally:
        zone.close()
    return Verified(obj.subject, obj.size_bytes, RIGHT if result.verified == "crc64nvme" else UNKNOWN, "CRC64NVME")


def _by_stream(origin: Origin, obj: RemoteObject, stated: Stated, shown: Callable[[int], None]) -> Verified:
    """In order, over one connection: for checksums that cannot be put together from parts."""

    def pieces() -> Iterator[bytes]:
        at = 0
        answer = origin.control().get_object(Bucket=origin.bucket, Key=obj.id.key, IfMatch=f'"{stated.etag}"')
        for piece in answer["Body"].iter_chunks(4 << 20):
            at += len(piece)
            shown(at)
            yield piece

    try:
        result, by = check(stated, pieces())
    except Exception as error:
        raise origin.translate(error, obj.subject) from None
    return Verified(obj.subject, obj.size_bytes, result, by)


def _local(obj: RemoteObject, origin: Origin, stated: Stated, folder: Path, shown: Callable[[int], None]) -> Verified:
    from .pull_files import place_of

    path = place_of(folder, obj.id.key.removeprefix(origin.prefix))
    if path is None or not path.is_file():
        message = "its name cannot be a file's" if path is None else "there is no such file"
        return Verified(obj.subject, obj.size_bytes, "missing", "", message)
    try:
        result, by = check(stated, read_file(str(path), shown))
    except OSError as error:
        return Verified(obj.subject, obj.size_bytes, "failed", "", error.strerror or "it cannot be read")
    return Verified(obj.subject, obj.size_bytes, result, by)


def _print(results: list[Verified], seconds: float, options: argparse.Namespace) -> None:
    wrong = [one for one in results if one.result not in (RIGHT, UNKNOWN)]
    if options.json:
        print_json({"objects": results, "wrong": len(wrong), "seconds": seconds})
        return
    rows = ((size_text(one.size_bytes), one.result, one.by or "-", one.subject) for one in results)
    print_table([Column("size", right=True), "result", "by", "object"], rows)
    for one in wrong:
        if one.message:
            warn(one.message if one.subject in one.message else f"{one.subject}: {one.message}")
    total = sum(one.size_bytes for one in results)
    unknown = sum(one.result == UNKNOWN for one in results)
    note = f", {unknown} without anything to compare with" if unknown else ""
    say(f"{count_text(len(results), 'object')}, {size_text(total)} at {rate_text(total / max(seconds, 1e-6))}: {len(wrong)} wrong{note}")
