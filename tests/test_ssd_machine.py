"""The SSD tier against a model of it: any order of begin, land, kill, give up, commit, lease, evict, restart."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from awscrt.checksums import crc64nvme
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelstream.storage.errors import NoRoom
from rig.ssd_parts import Mortal, aligned, content, drop_dead, empty, extents, head_of, remote, shown, tier

CHUNK = 4096
OBJECTS = [remote(f"{n}.safetensors", size) for n, size in enumerate((CHUNK, 3 * CHUNK, 3 * CHUNK + 11, 5 * CHUNK, 0))]
BUDGET = 9 * CHUNK
objects = st.sampled_from(OBJECTS)


class SsdMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.now = 1e6
        self.whole: dict[str, object] = {}
        """digest → object, least recently used first"""
        self.leases: list = []
        self.partials: dict = {}
        self.landed: dict = {}
        self.boot()

    def boot(self) -> None:
        self.owners = Mortal()
        self.entered = tier(self.root, budget_bytes=BUDGET, owners=self.owners, clock=self.tick, chunk_bytes=CHUNK)
        self.ssd = self.entered.__enter__()

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    @rule(obj=objects)
    def begin(self, obj) -> None:
        if obj in self.partials or obj.id.digest in self.whole:
            return  # what is here is not fetched; to the policy a fetch is a use
        before = dict(self.whole)
        try:
            partial = self.ssd.begin(obj, head_of(obj))
        except NoRoom:
            leased = sum({lease.obj.id.digest: lease.obj.size_bytes for lease in self.leases}.values())
            reserved = sum(p.size_bytes for p in self.partials.values())
            assert leased + reserved + obj.size_bytes > BUDGET, "there was room"
            self.forget_evicted(before)
            assert self.whole == before, "evicted for nothing"
            return
        self.partials[obj] = partial
        view = empty(obj.size_bytes)
        done = partial.resume_into(view)
        assert all(bytes(view[e.offset : e.end]) == content(obj)[e.offset : e.end] for e in done)
        self.landed[obj] = {e.offset // CHUNK for e in done}
        self.forget_evicted(before)

    def forget_evicted(self, before: dict) -> None:
        gone = [digest for digest, obj in before.items() if self.ssd.lookup(obj) is None]
        leased = {lease.obj.id.digest for lease in self.leases}
        assert not set(gone) & leased, "a leased entry was evicted"
        candidates = [digest for digest in before if digest not in leased and before[digest].size_bytes]
        sized = [digest for digest in gone if before[digest].size_bytes]
        assert sized == candidates[: len(sized)], "not the least recently used"
        for digest in gone:
            del self.whole[digest]

    @precondition(lambda self: self.partials)
    @rule(data=st.data())
    def land(self, data) -> None:
        obj = data.draw(st.sampled_from(sorted(self.partials, key=lambda o: o.id.key)))
        chunks = extents(content(obj), CHUNK)
        if not chunks:
            return
        extent = data.draw(st.sampled_from(chunks))
        self.partials[obj].write_behind(aligned(content(obj)), extent)
        self.landed[obj].add(extent.offset // CHUNK)

    @precondition(lambda self: self.partials)
    @rule(data=st.data(), keep=st.booleans())
    def give_up(self, data, keep) -> None:
        obj = data.draw(st.sampled_from(sorted(self.partials, key=lambda o: o.id.key)))
        self.partials.pop(obj).abandon(keep=keep)

    @precondition(lambda self: self.partials)
    @rule(data=st.data())
    def finish(self, data) -> None:
        obj = data.draw(st.sampled_from(sorted(self.partials, key=lambda o: o.id.key)))
        for extent in extents(content(obj), CHUNK):
            if extent.offset // CHUNK not in self.landed[obj]:
                self.partials[obj].write_behind(aligned(content(obj)), extent)
        self.partials.pop(obj).commit(crc64nvme(content(obj)))
        self.use(obj)

    def use(self, obj) -> None:
        self.whole.pop(obj.id.digest, None)
        self.whole[obj.id.digest] = obj

    @rule(obj=objects)
    def lease(self, obj) -> None:
        lease = self.ssd.lease(obj)
        assert (lease is not None) == (obj.id.digest in self.whole)
        if lease is not None:
            self.use(obj)
            self.leases.append(lease)
            view = empty(obj.size_bytes)
            self.ssd.read_into(lease, view)
            assert bytes(view) == content(obj)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data) -> None:
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))).release()

    @rule(clean=st.booleans())
    def restart(self, clean) -> None:
        for partial in self.partials.values():
            partial.abandon(keep=True) if clean else drop_dead(partial)
        if clean:
            for lease in self.leases:
                lease.release()
        self.partials.clear()
        self.leases.clear()
        self.owners.die()
        dead, self.now = self.owners, self.now + 100
        self.ssd._space._active.clear()
        self.entered.__exit__(None, None, None)
        self.boot()
        self.owners.dead |= dead.dead
        self.ssd.sweep()

    @invariant()
    def only_whole_entries_are_shown(self) -> None:
        assert shown(self.root) == sorted(self.ssd.path_for(obj) for obj in self.whole.values())

    @invariant()
    def the_figures_are_true(self) -> None:
        snapshot = self.ssd.snapshot()
        assert snapshot.reserved_bytes == sum(p.size_bytes for p in self.partials.values())
        assert snapshot.used_bytes == sum(obj.size_bytes for obj in self.whole.values())
        assert snapshot.leases == len({lease.obj.id.digest for lease in self.leases})

    def teardown(self) -> None:
        for partial in self.partials.values():
            partial.abandon(keep=False)
        for lease in self.leases:
            lease.release()
        self.entered.__exit__(None, None, None)
        shutil.rmtree(self.root)


SsdMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestSsdMachine = SsdMachine.TestCase
