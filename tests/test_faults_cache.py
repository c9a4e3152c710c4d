"""Faults seen through the whole cache: RAM, SSD, catalog and transfer together.  Numbers are those of the fault matrix.

`cache_rig` checks the invariants after every case: whole files only under final names, accounting back, no threads or
descriptors left.
"""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from botocore.config import Config as BotoConfig

from modelstream.cache import pages
from modelstream.cache.watch import LoadProgress
from modelstream.storage.errors import CorruptObject, ModelStreamError, ObjectMissing, Throttled
from modelstream.storage.events import TierDegraded
from modelstream.storage.layout import FolderView
from rig import faults
from rig.invariants import eventually, no_temporary_files, shown_files
from rig.tiny_models import safetensors_bytes
from rig.transfers import LIMIT_S, MIB
from rig.whole_cache import CacheRig, cache_rig

KEY = "checkpoints/model.safetensors"
CHECKPOINTS = FolderView("checkpoints", ("checkpoints",), frozenset({".safetensors"}))
OLD, NEW = safetensors_bytes("old", 6 * MIB), safetensors_bytes("new", 6 * MIB + 4096)
LONG = safetensors_bytes("long", 40 * MIB)
"""more than two chunks of the SSD tier: something to resume"""


class Stopped(Exception):
    """What a watch raises: the user pressed the button."""


class Button:
    """A watch that can be pressed, and that says when its load is waiting."""

    def __init__(self) -> None:
        self.pressed = threading.Event()
        self.waiting = threading.Event()

    def progress(self, progress: LoadProgress) -> None:
        assert 0 <= progress.done_bytes <= progress.size_bytes

    def check(self) -> None:
        self.waiting.set()
        if self.pressed.is_set():
            raise Stopped


class Asked:
    """Somebody who loads in a thread of their own."""

    def __init__(self, load: Callable[[Button], Any]) -> None:
        self.button = Button()
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(load,))
        self._thread.start()

    def _run(self, load: Callable[[Button], Any]) -> None:
        try:
            self.result = load(self.button)
        except BaseException as error:  # handed to the test
            self.error = error

    def answer(self) -> Any:
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the load hangs"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def rig(seaweed, tmp_path) -> Iterator[CacheRig]:
    with cache_rig(seaweed, tmp_path / "ssd", OLD, NEW, LONG) as rig:
        yield rig


def everything_is_refused(rig: CacheRig, action: faults.Status | faults.CutBefore) -> None:
    rig.proxy.clear()
    rig.proxy.on(action, method=None, times=None)


OUTAGES = {
    "9 throttled": faults.Status(503, "SlowDown"),
    "10 broken": faults.Status(500, "InternalError"),
    "13 denied": faults.Status(403, "AccessDenied"),
    "26 unreachable": faults.CutBefore(),
    "21 portal": faults.html_page(),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_takes_no_name_away_and_complete_copies_go_on_being_served(rig, outage):
    """Cases 9, 10, 13, 21 and 26: only an authenticated 404 may mean deleted."""
    obj = rig.put(KEY, OLD)
    rig.parts.catalog.refresh(wait=True)
    rig.load(obj, OLD)
    rig.restart()
    everything_is_refused(rig, outage)
    rig.parts.catalog.refresh(wait=True)
    assert KEY.split("/")[1] in rig.parts.catalog.names(CHECKPOINTS)
    found = rig.parts.catalog.find(CHECKPOINTS, "model.safetensors")
    assert found is not None
    opened = rig.load(found, OLD)
    assert opened.source == "ssd"
    assert not rig.proxy.requests("GET", KEY)
    assert shown_files(rig.folder)


def test_an_outage_in_the_middle_of_a_load_is_an_error_and_the_next_load_goes_on_from_there(rig):
    """Cases 9 and 26, mid-way."""
    obj = rig.put(KEY, LONG)
    rule = rig.proxy.on(faults.Status(503, "SlowDown"), covers=38 * MIB, times=None)
    rig.fails(obj, Throttled)
    assert rule.hits
    rig.proxy.clear()
    rig.load(obj, LONG)
    assert rig.proxy.sent_bytes(KEY) < len(LONG)


def test_a_deleted_object_ends_the_load_and_an_earlier_version_stays_usable(rig):
    """Case 14."""
    old = rig.put(KEY, OLD)
    rig.load(old, OLD)
    new = rig.put(KEY, NEW)
    rig.proxy.on(faults.First(lambda: rig.delete(KEY)), covers=3 * MIB)
    rig.fails(new, ObjectMissing)
    assert rig.load(old, OLD).source == "ram"
    rig.restart()
    assert rig.load(old, OLD).source == "ssd"


def test_an_object_overwritten_while_it_loads_arrives_as_the_new_one_and_is_known_as_that(rig):
    """Case 15."""
    obj = rig.put(KEY, OLD)
    rig.parts.catalog.refresh(wait=True)
    rig.proxy.on(faults.First(lambda: rig.put(KEY, NEW)), covers=3 * MIB)
    opened = rig.load(obj, NEW)
    new = rig.object(KEY)
    assert opened.obj.id == new.id
    assert rig.parts.catalog.find(CHECKPOINTS, "model.safetensors") == new
    rig.proxy.clear()
    assert rig.load(new, NEW).source == "ram"
    assert not rig.proxy.requests("GET", KEY)


def test_bytes_that_are_always_damaged_reach_neither_a_loader_nor_the_disk(rig):
    """Case 22."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.Corrupt(5000), covers=3 * MIB, times=None)
    rig.fails(obj, CorruptObject)
    assert shown_files(rig.folder) == []
    no_temporary_files(rig.folder)
    rig.proxy.clear()
    rig.load(obj, OLD)


def test_a_header_that_breaks_the_format_is_refused_long_before_the_last_byte(rig):
    """Not one byte of it reaches a loader, and the rest is not fetched."""
    bad = b"\xff" * 8 + LONG[8:]
    obj = rig.put(KEY, bad)
    error = rig.fails(obj, ModelStreamError)
    assert error.code == "safetensors"
    assert rig.proxy.sent_bytes(KEY) < len(bad)
    no_temporary_files(rig.folder)


def test_everybody_who_asks_at_once_shares_one_transfer(rig):
    """Case 37, threads: one object, five loads, one set of bytes on the wire."""
    obj = rig.put(KEY, OLD)
    gate = faults.Gate(after_bytes=1000)
    rig.proxy.on(gate, ranged=True)
    first = Asked(lambda button: rig.parts.cache.open_tensors(obj, button))
    assert gate.reached.wait(LIMIT_S)
    others = [Asked(lambda button: rig.parts.cache.open_tensors(obj, button)) for _ in range(3)]
    others.append(Asked(lambda button: rig.parts.cache.open_file(obj, button)))
    assert all(one.button.waiting.wait(LIMIT_S) for one in others)
    gate.release.set()
    opened = [one.answer() for one in (first, *others)]
    assert rig.proxy.sent_bytes(KEY) == len(OLD)
    assert sum(one.wire_bytes for one in opened) == len(OLD)
    for one in opened[:-1]:
        rig.check_bytes(one, OLD)
        one.close()
    assert Path(opened[-1].path).read_bytes() == OLD
    opened[-1].close()


def test_one_who_stops_waiting_does_not_stop_the_others(rig):
    """Case 41, shared."""
    obj = rig.put(KEY, OLD)
    gate = faults.Gate(after_bytes=1000)
    rig.proxy.on(gate, ranged=True)
    leaves = Asked(lambda button: rig.parts.cache.open_tensors(obj, button))
    stays = Asked(lambda button: rig.parts.cache.open_tensors(obj, button))
    assert gate.reached.wait(LIMIT_S)
    assert leaves.button.waiting.wait(LIMIT_S) and stays.button.waiting.wait(LIMIT_S)
    leaves.button.pressed.set()
    with pytest.raises(Stopped):
        leaves.answer()
    gate.release.set()
    opened = stays.answer()
    rig.check_bytes(opened, OLD)
    opened.close()
    assert rig.proxy.sent_bytes(KEY) == len(OLD)


def test_a_stopped_load_ends_its_threads_gives_its_memory_back_and_can_go_on_later(rig):
    """Case 41."""
    obj = rig.put(KEY, LONG)
    gate = faults.Gate()
    rig.proxy.on(gate, covers=39 * MIB, times=None)
    asked = Asked(lambda button: rig.parts.cache.open_tensors(obj, button))
    assert gate.reached.wait(LIMIT_S)
    landed = rig.landed_bytes
    assert eventually(lambda: landed(KEY) >= 36 * MIB), landed(KEY)
    asked.button.pressed.set()
    with pytest.raises(Stopped):
        asked.answer()
    assert eventually(lambda: not rig.parts.engine.active(), within_s=2.0)
    assert eventually(lambda: rig.parts.cache.snapshot().ram.used_bytes == 0, within_s=2.0)
    assert eventually(lambda: not rig.parts.cache.snapshot().loading, within_s=2.0)
    assert shown_files(rig.folder) == []
    rig.proxy.clear()
    rig.load(obj, LONG)
    assert rig.proxy.sent_bytes(KEY) <= len(LONG) - 16 * MIB


def test_another_object_loads_while_one_hangs(rig):
    """I5: one server answer that never comes holds up nobody else."""
    slow, quick = rig.put(KEY, OLD), rig.put("checkpoints/quick.safetensors", NEW)
    gate = faults.Gate()
    rig.proxy.on(gate, path=KEY, covers=3 * MIB, times=None)
    hanging = Asked(lambda button: rig.parts.cache.open_tensors(slow, button))
    assert gate.reached.wait(LIMIT_S)
    with rig.parts.cache.open_tensors(quick) as opened:
        rig.check_bytes(opened, NEW)
    hanging.button.pressed.set()
    with pytest.raises(Stopped):
        hanging.answer()


def test_an_object_that_memory_has_no_room_for_is_read_from_the_disk(seaweed, tmp_path):
    """Case 44."""
    with cache_rig(seaweed, tmp_path / "ssd", OLD, ram_bytes=1 * MIB) as rig:
        obj = rig.put(KEY, OLD)
        rig.load(obj, OLD)
        assert [p.read_bytes() == OLD for p in shown_files(rig.folder)] == [True]
        assert rig.parts.cache.snapshot().ram.used_bytes == 0
        rig.proxy.clear()
        rig.load(obj, OLD)
        assert not rig.proxy.requests("GET", KEY)


@pytest.mark.parametrize("refusal", [OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError()], ids=["ENOMEM", "MemoryError"])
def test_memory_that_the_system_refuses_is_made_up_for_by_the_disk(rig, monkeypatch, refusal):
    """Case 44: the budget would allow it, the machine does not."""

    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(pages, "map_anonymous", refuse)
    obj = rig.put(KEY, OLD)
    rig.load(obj, OLD)
    assert rig.parts.cache.snapshot().ram.used_bytes == 0
    assert len(shown_files(rig.folder)) == 1


def test_what_could_not_be_verified_is_kept_with_a_checksum_of_our_own(rig):
    """Case 23: the record says how far it was checked, and has what every later read is compared with."""
    plain = rig.server.client(config=BotoConfig(request_checksum_calculation="when_required", s3={"addressing_style": "path"}))
    plain.put_object(Bucket=rig.server.bucket, Key=KEY, Body=OLD)
    plain.close()
    rig.load(rig.object(KEY), OLD)
    record = json.loads((shown_files(rig.folder)[0].parent / "record.json").read_text())
    assert record["verified"] == "size_only"
    assert int(record["crc64"], 16) == crc64nvme(OLD)


def test_a_disk_that_cannot_be_written_costs_the_copy_and_not_the_load(seaweed, tmp_path):
    """Case 43's other half: without a place on the SSD an object still loads into memory."""
    (tmp_path / "ssd").write_bytes(b"a file where the directory should be")
    with cache_rig(seaweed, tmp_path / "ssd" / "inside", OLD) as rig:
        obj = rig.put(KEY, OLD)
        assert rig.load(obj, OLD).source == "bucket"
        assert rig.load(obj, OLD).source == "ram"
        degraded = [e for e in rig.parts.events if isinstance(e, TierDegraded)]
        assert {e.tier for e in degraded if e.code != "history"} == {"ssd"}  # the folder for small things is gone with it


def test_closing_the_cache_in_the_middle_of_a_load_ends_everything(rig):
    obj = rig.put(KEY, OLD)
    gate = faults.Gate()
    rig.proxy.on(gate, covers=3 * MIB, times=None)
    asked = Asked(lambda button: rig.parts.cache.open_tensors(obj, button))
    assert gate.reached.wait(LIMIT_S)
    rig.parts.close()
    with pytest.raises(ModelStreamError):
        asked.answer()
