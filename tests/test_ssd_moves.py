"""Promotion and demotion between SSD directories: planned as a value, carried out with checked copies."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.ssd import SsdTier
from modelstream.cache.ssd_moves import CLEARLY, Placed, Shelf, SsdMoves, choose_moves
from modelstream.storage.events import CorruptionFound, Evicted, Moved
from modelstream.storage.objects import RemoteObject
from rig.ssd_parts import CHUNK, Heard, content, remote, store, tier


def placed(key: str, chunks: int, rate: float, uses: int = 5, movable: bool = True) -> Placed:
    return Placed(remote(key, chunks * CHUNK), rate, uses, movable)


SHELVES = st.lists(
    st.builds(
        lambda free, rows: Shelf(
            free * CHUNK, tuple(placed(f"{free}/{n}/{rate}", size, rate, uses, can) for n, (size, rate, uses, can) in enumerate(rows))
        ),
        st.integers(0, 12),
        st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1), st.integers(0, 4), st.booleans()), max_size=5),
    ),
    min_size=1,
    max_size=3,
)


@given(SHELVES)
def test_a_plan_fits_both_disks_moves_nothing_that_is_held_and_gains_clearly(shelves: list[Shelf]) -> None:
    moves = choose_moves(shelves, most_bytes=20 * CHUNK)
    if not moves:
        return
    *down, up = moves
    entries = {(n, e.obj): e for n, shelf in enumerate(shelves) for e in shelf.entries}
    assert up.source > up.target and all((m.source, m.target) == (up.target, up.source) for m in down)
    free = [shelf.free_bytes for shelf in shelves]
    for move in moves:
        assert entries[move.source, move.obj].movable
        free[move.source] += move.obj.size_bytes
        free[move.target] -= move.obj.size_bytes
        assert free[move.target] >= 0
    assert sum(m.obj.size_bytes for m in moves) <= 20 * CHUNK
    won = entries[up.source, up.obj]
    assert won.uses >= 2 and won.worth > CLEARLY * sum(entries[m.source, m.obj].worth for m in down)


def test_nothing_is_moved_for_a_little_more_or_without_a_second_use() -> None:
    fast = Shelf(0, (placed("a", 4, 0.2),))
    assert choose_moves([fast, Shelf(9 * CHUNK, (placed("b", 4, 0.3),))]) == ()
    assert choose_moves([fast, Shelf(9 * CHUNK, (placed("b", 4, 0.9, uses=1),))]) == ()
    assert [m.obj.id.key for m in choose_moves([fast, Shelf(9 * CHUNK, (placed("b", 4, 0.9),))])] == ["a", "b"]
    assert [m.obj.id.key for m in choose_moves([Shelf(4 * CHUNK, ()), Shelf(0, (placed("b", 4, 0.1),))])] == ["b"]
    assert choose_moves([fast]) == ()


def use(ssd: SsdTier, obj: RemoteObject, times: int) -> None:
    for _ in range(times):
        lease = ssd.lease(obj)
        assert lease is not None
        lease.release()


def read(ssd: SsdTier, obj: RemoteObject) -> bytes:
    lease = ssd.lease(obj, use=False)
    assert lease is not None
    with lease:
        return lease.path.read_bytes()


def test_what_is_used_often_goes_to_the_fast_disk_and_what_is_not_makes_place(tmp_path: Path) -> None:
    heard = Heard()
    rare, liked = remote("rare", 4 * CHUNK + 5), remote("liked", 4 * CHUNK)
    with tier(tmp_path / "fast", heard, budget_bytes=6 * CHUNK) as fast, tier(tmp_path / "slow", heard, budget_bytes=20 * CHUNK) as slow:
        store(fast, rare)
        store(slow, liked)
        use(fast, rare, 1)
        use(slow, liked, 9)
        quiet = [False]
        moves = SsdMoves((fast, slow), heard.bus, lambda: quiet[0])
        assert [m.obj.id for m in moves.plan()] == [rare.id, liked.id] and fast.holds(rare.id.digest), "a plan changes nothing"
        moves.round()
        assert fast.holds(rare.id.digest), "not while something is fetched"
        quiet[0] = True
        held = slow.lease(liked, use=False)
        assert held is not None
        assert moves.plan() == (), "what is leased stays"
        held.release()
        moves.round()
        assert read(fast, liked) == content(liked) and read(slow, rare) == content(rare)
        assert not fast.holds(rare.id.digest) and not slow.holds(liked.id.digest)
        assert [(e.subject, e.source, e.target) for e in heard.of(Moved)] == [(rare.subject, 0, 1), (liked.subject, 1, 0)]
        assert {e.reason for e in heard.of(Evicted)} == {"moved"}
        assert moves.plan() == ()
    with tier(tmp_path / "fast") as fast:
        fast.verify(fast.lease(liked), again=True)  # type: ignore[arg-type]


def test_a_damaged_source_is_not_copied(tmp_path: Path) -> None:
    heard = Heard()
    liked = remote("liked", 4 * CHUNK)
    with tier(tmp_path / "fast", heard) as fast, tier(tmp_path / "slow", heard) as slow:
        store(slow, liked)
        use(slow, liked, 5)
        lease = slow.lease(liked)
        assert lease is not None
        with lease, open(lease.path, "r+b") as file:
            file.seek(CHUNK + 3)
            file.write(b"\xff\x00\xff")
        SsdMoves((fast, slow), heard.bus, lambda: True).round()
        assert not fast.holds(liked.id.digest) and slow.holds(liked.id.digest)
        assert heard.of(Moved) == [] and fast.snapshot().reserved_bytes == 0
        assert heard.of(CorruptionFound) == [] or heard.of(CorruptionFound)[0].where == "ssd"
