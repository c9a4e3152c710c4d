"""The usage history on disk: bounded, plain text only, the same after a restart."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import sqlite3
import stat

import pytest

from modelstream.cache.policy import Entry, make_policy
from modelstream.cache.policy_history import HALF_LIVES, Remembered
from modelstream.cache.usage_history import HistoryUnusable, UsageHistory


def row(code: int, **more) -> Remembered:
    figures = {"size_bytes": 10**9, "reload_s": 4.3, "counts": (1.0,) * len(HALF_LIVES), "idle_uses": code, "used_s": 1.7e9, "uses": 3}
    return Remembered(f"d{code}", **{**figures, **more})


class Trap:
    """Its unpickling would leave a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def plant(folder, key: str, value, *, mode: int = 1, raw: int = 1) -> None:
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute(
            "INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, ?, 0, 0, ?, ?)", (key, raw, mode, value)
        )
    database.close()


def test_a_policy_ranks_the_same_after_its_history_was_stored_and_loaded(tmp_path):
    policy = make_policy("steady", 10**10)
    entries = {f"e{i}": Entry(f"e{i}", 10**9, 4.3) for i in range(8)}
    for i in range(60):
        policy.used(entries[f"e{i * i % 8}"], float(i), hit=False)
    with UsageHistory(tmp_path / "history", "ram") as history:
        history.store(policy.remembered())
    fresh = make_policy("steady", 10**10)
    with UsageHistory(tmp_path / "history", "ram") as history:
        fresh.restore(history.load())
    wanted = [v.digest for v in policy.plan_room(entries, 5 * 10**9, 60.0).victims]
    assert wanted and [v.digest for v in fresh.plan_room(entries, 5 * 10**9, 60.0).victims] == wanted


def test_only_the_most_recently_used_rows_are_kept(tmp_path):
    with UsageHistory(tmp_path, "ram", max_rows=10) as history:
        assert history.store(row(i) for i in range(50)) == 10
        assert [one.digest for one in history.load()] == [f"d{i}" for i in range(10)]
        history.store([row(3)])
        assert [one.digest for one in history.load()] == ["d3"]


def test_two_tiers_share_a_folder_and_do_not_mix(tmp_path):
    with UsageHistory(tmp_path, "ram") as ram, UsageHistory(tmp_path, "ssd") as ssd:
        ram.store([row(1)])
        ssd.store([row(2)])
        ram.store([row(3)])
        assert [one.digest for one in ram.load()] == ["d3"] and [one.digest for one in ssd.load()] == ["d2"]


@pytest.mark.parametrize("mode", [1, 2, 4])
def test_a_planted_pickle_is_never_loaded(tmp_path, mode):
    mark = tmp_path / "mark"
    folder = tmp_path / "history"
    with UsageHistory(folder, "ram") as history:
        history.store([row(1)])
    bomb = pickle.dumps(Trap(str(mark)))
    plant(folder, "ram/bomb", sqlite3.Binary(bomb), mode=mode)
    plant(folder, sqlite3.Binary(bomb), "x", raw=0)
    with UsageHistory(folder, "ram") as history:
        assert [one.digest for one in history.load()] == ["d1"]
        history.store([row(2)])
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        "[" * 1000,
        json.dumps([2, 1, 1.0, [1.0] * 6, 0, 0.0, 1]),
        json.dumps([1, 1, 1.0, [1.0] * 5, 0, 0.0, 1]),
        json.dumps([1, -1, 1.0, [1.0] * 6, 0, 0.0, 1]),
        "[1, 1, NaN, [1,1,1,1,1,1], 0, 0, 1]",
        "[1, 1, 1e999, [1,1,1,1,1,1], 0, 0, 1]",
        json.dumps([1, 1, 1.0, [1.0] * 6, 0, 0.0, 1]) + " " * 4000,
    ],
)
def test_a_damaged_row_is_forgotten_and_the_others_stay(tmp_path, text):
    with UsageHistory(tmp_path, "ram") as history:
        history.store([row(1)])
        plant(tmp_path, "ram/bad", text)
        assert [one.digest for one in history.load()] == ["d1"]


def test_a_file_that_is_no_database_is_reported_and_harms_nobody(tmp_path):
    (tmp_path / "cache.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(HistoryUnusable) as caught:
        UsageHistory(tmp_path, "ram")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_folder_is_the_owners_alone(tmp_path):
    with UsageHistory(tmp_path / "h", "ram"):
        assert stat.S_IMODE((tmp_path / "h").stat().st_mode) == 0o700


def hammer(folder, name: str) -> None:
    for turn in range(20):
        with UsageHistory(folder, name) as history:
            history.store(row(i, uses=turn + 1) for i in range(20))


def test_processes_that_write_at_once_leave_whole_rows(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=hammer, args=(tmp_path, name)) for name in ("ram", "ram", "ssd")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    for name in ("ram", "ssd"):
        with UsageHistory(tmp_path, name) as history:
            assert [one.uses for one in history.load()] == [20] * 20
