"""Every single call that the SSD tier makes to the system fails once: storing, reading, checking, evicting, cleaning.

Whichever it is, whoever asked gets the right bytes or an error of the family, and afterwards the tier is as it should be.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from awscrt.checksums import crc64nvme

from modelstream.cache.disk import Disk
from modelstream.storage.errors import ModelStreamError
from rig.ssd_parts import CHUNK, Mortal, content, empty, extents, head_of, remote, shown, store, tier

OLD = remote("loras/old.safetensors", 2 * CHUNK + 5)
NEW = remote("loras/new.safetensors", 3 * CHUNK)
BUDGET = NEW.size_bytes + OLD.size_bytes - 1
"""one of them at a time"""
CALLS = frozenset(name for name, value in vars(Disk).items() if callable(value) and not name.startswith("_"))
UNUSED_HERE = {"copy", "start_writing", "allocate", "drop_cached", "remove_tree"}
"""copy and start_writing: mending a damaged entry; allocate: systems that give no pages back; drop_cached: file systems that take no direct
writes, or an object whose end is no whole block; remove_tree: its own calls are counted"""


class OneFails(Disk):
    """Lets the ``nth`` call fail, of all that there are.  Nested calls count by themselves."""

    def __init__(self, number: int) -> None:
        self.calls, self.nth, self.number, self.failed_at = 0, 1 << 30, number, ""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in CALLS or name == "remove_tree":
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.nth:
                self.failed_at = name
                if name == "close":
                    value(*args, **kwargs)  # the descriptor is gone all the same
                raise OSError(self.number, "pretended")
            return value(*args, **kwargs)

        return call


def land(ssd: Any, obj: Any) -> None:
    """The other way in, which does not pass through RAM."""
    partial = ssd.begin(obj, head_of(obj))
    try:
        view = partial.landing()
        for extent in extents(content(obj)):
            view[extent.offset : extent.end] = content(obj)[extent.offset : extent.end]
            partial.landed(extent)
        partial.commit(crc64nvme(content(obj)))
    finally:
        partial.abandon(keep=True)


def put(ssd: Any, obj: Any) -> None:
    land(ssd, obj) if obj is NEW else store(ssd, obj)


def read(ssd: Any, obj: Any) -> None:
    """The right bytes, a miss, or an error of the family."""
    lease = ssd.lease(obj)
    if lease is None:
        return
    with lease:
        view = empty(obj.size_bytes)
        ssd.read_into(lease, view)
        assert bytes(view) == content(obj), "wrong bytes were handed out"
        ssd.verify(lease, again=True)


STEPS: tuple[Callable[[Any], object], ...] = (
    lambda ssd: put(ssd, OLD),
    lambda ssd: read(ssd, OLD),
    lambda ssd: put(ssd, NEW),
    lambda ssd: read(ssd, NEW),
    lambda ssd: ssd.let_go(NEW.id.digest),
    lambda ssd: put(ssd, OLD),
    lambda ssd: ssd.scan(),
    lambda ssd: ssd.sweep(),
)


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """In memory where that is possible: hundreds of tiers, each with its fsyncs."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="modelstream-calls-", dir=memory if os.access(memory, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


def nothing_partial(root: Path) -> None:
    for path in shown(root):
        assert path.read_bytes() in (content(OLD), content(NEW)), "something partial has a final name"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_whichever_call_fails_nobody_sees_wrong_bytes_and_the_tier_recovers(quick_folder: Path, number: int) -> None:
    nth, places = 0, set[str]()
    while True:
        nth += 1
        root, disk = quick_folder / str(nth), OneFails(number)
        before, after = Mortal(), Mortal()
        with tier(root, disk=disk, budget_bytes=BUDGET, owners=before) as ssd:
            ssd._sweeper.join()
            disk.calls, disk.nth = 0, nth
            for step in STEPS:
                try:
                    step(ssd)
                except ModelStreamError as error:
                    assert error.cause and error.next_step and str(root) not in str(error)
                except OSError:
                    assert step is STEPS[6], "only the scan may say it plainly: its callers wrap it"
                nothing_partial(root)
            disk.nth = 1 << 30
            assert ssd.snapshot().reserved_bytes == 0 and ssd.snapshot().leases == 0
            assert not ssd._tools.writer.queued_jobs()
            ssd.set_budget(1 << 30)  # what could not be removed counts until this process is gone
            put(ssd, OLD)
            assert ssd.path_for(OLD).read_bytes() == content(OLD), "the same process does not get over it"
        before.die()  # what could not be removed or given away is reclaimed when its process is gone
        after.dead |= before.dead
        with tier(root, budget_bytes=BUDGET, owners=after) as ssd:
            ssd.sweep()
            for obj in (NEW, OLD):
                put(ssd, obj)
                read(ssd, obj)
                assert ssd.lookup(obj) is not None and shown(root) == [ssd.path_for(obj)]
            assert ssd.snapshot().used_bytes == OLD.size_bytes
            assert not list((root / "trash").iterdir()) and not list((root / "partial").iterdir()) and not list((root / "leases").iterdir())
        if not disk.failed_at:
            break
        places.add(disk.failed_at)
    assert places >= CALLS - UNUSED_HERE, f"never failed: {CALLS - UNUSED_HERE - places}"
