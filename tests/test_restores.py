"""Objects in an archive, on a server that has one (MiniStack): what a load does about them, as the owner says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache import restores
from modelstream.cache.fetch import Fetch
from modelstream.cache.restore_words import RestoreProgress, duration
from modelstream.cache.restores import LAST_POLL_S, poll_s
from modelstream.cache.restores_asked import Asked, AskedBack
from modelstream.cache.state_file import StateFile
from modelstream.cache.watch import LoadProgress
from modelstream.storage.config import Config
from modelstream.storage.errors import ConfigError, ObjectArchived, TransferCancelled
from modelstream.storage.events import TransferFailed
from modelstream.storage.events_restore import RestoreFailed, RestoreFinished, RestoreStarted
from modelstream.storage.landing import Priority
from modelstream.storage.prices import load_prices
from modelstream.storage.restore import ARCHIVED, ONGOING, READABLE, RESTORED, expected_s, phase_of
from rig.awkward import MINISTACK, AwkwardServer, ministack_server
from rig.faults import CutBefore, Gate
from rig.invariants import eventually, holds_no_secret
from rig.tiny_models import safetensors_bytes
from rig.transfers import MIB
from rig.whole_cache import CacheRig, cache_rig

needs_archive = pytest.mark.skipif(not MINISTACK.exists(), reason="MiniStack is not installed in .venv/ministack")
BODY = safetensors_bytes("archived", 6 * MIB)
KEY = "checkpoints/archived.safetensors"
WAIT = '[restore]\non_load = "wait"\ndays = 1\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[AwkwardServer]:
    with ministack_server(tmp_path_factory.mktemp("ministack"), restore_s=1.2) as server:
        yield server


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch) -> None:
    """Here it takes a second where AWS takes hours."""
    monkeypatch.setattr(restores, "FIRST_POLL_S", 0.1)


@contextlib.contextmanager
def archive(server: AwkwardServer, folder, more: str) -> Iterator[CacheRig]:
    with cache_rig(server, folder / "ssd", BODY, more=more) as rig:
        yield rig


class Watching:
    """A loader that notes what it is shown and leaves when it is told to."""

    def __init__(self) -> None:
        self.shown: list[LoadProgress] = []
        self.leave = threading.Event()
        self.waits = threading.Event()

    def progress(self, progress: LoadProgress) -> None:
        self.shown.append(progress)
        if progress.waits:
            self.waits.set()

    def check(self) -> None:
        if self.leave.is_set():
            raise TransferCancelled("the user has interrupted")


def events_of(rig: CacheRig, kind: type) -> list:
    return [event for event in rig.parts.events if isinstance(event, kind)]


def asked_back(rig: CacheRig) -> int:
    return len([r for r in rig.proxy.requests("POST", KEY) if "restore" in r.query])


# -- as the owner says ---------------------------------------------------------------------------------------------------
@needs_archive
def test_a_load_says_class_state_and_time_and_asks_nothing_back_unless_the_owner_allows_it(server, tmp_path):
    with archive(server, tmp_path, "") as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        error = rig.fails(obj, ObjectArchived)
        assert "GLACIER" in str(error)
        assert "5 h" in str(error)
        assert "modelstream restore" in str(error)
        assert "on_load" in str(error)
        assert asked_back(rig) == 0
        assert events_of(rig, TransferFailed) == []


@needs_archive
def test_a_load_that_may_start_a_restore_does_it_once_says_so_and_loads_when_it_is_there(server, tmp_path):
    with archive(server, tmp_path, '[restore]\non_load = "start"\n') as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        error = rig.fails(obj, ObjectArchived)
        assert "being restored from GLACIER" in str(error)
        assert "this load asked for it" in str(error)
        rig.fails(obj, ObjectArchived)
        assert asked_back(rig) == 1
        assert eventually(lambda: rig.parts.restores.look(obj).phase == RESTORED, within_s=10)
        rig.load(obj, BODY)


@needs_archive
def test_a_load_that_may_wait_shows_what_it_waits_for_and_then_loads(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj, watch = rig.put(KEY, BODY, StorageClass="DEEP_ARCHIVE"), Watching()
        with rig.parts.cache.open_tensors(obj, watch) as opened:
            rig.check_bytes(opened, BODY)
        waits = [p for p in watch.shown if p.waits]
        assert "DEEP_ARCHIVE" in waits[0].waits
        assert waits[0].eta_s is not None and 0 < waits[0].eta_s <= 12 * 3600
        (started,) = events_of(rig, RestoreStarted)
        assert (started.storage_class, started.tier, started.days, started.ours) == ("DEEP_ARCHIVE", "Standard", 1, True)
        (finished,) = events_of(rig, RestoreFinished)
        assert finished.until_s > 0
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_an_object_that_skips_ram_waits_the_same_way(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        with rig.parts.cache.open_file(obj, Watching()) as opened, open(opened.path, "rb") as file:
            assert file.read() == BODY


@needs_archive
def test_however_many_ask_there_is_one_restore(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")

        def load(number: int) -> None:
            if number % 2:
                rig.parts.restores.wait(obj, lambda: False, lambda progress: None)
            else:
                rig.parts.cache.open_tensors(obj, Watching()).close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(load, range(8)))
        assert asked_back(rig) == 1
        assert len(events_of(rig, RestoreStarted)) == 1
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_a_restore_that_somebody_else_asked_for_is_joined(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        rig.direct.restore_object(Bucket=server.bucket, Key=KEY, RestoreRequest={"Days": 1})
        rig.parts.cache.open_tensors(obj, Watching()).close()
        assert [event.ours for event in events_of(rig, RestoreStarted)] == [False]
        assert asked_back(rig) == 0
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_who_asks_at_the_same_moment_is_told_that_it_is_under_way_and_waits(server, tmp_path):
    """RestoreAlreadyInProgress: the other process was faster between our look and our request."""
    with archive(server, tmp_path, WAIT) as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        state = rig.parts.restores.look(obj)
        rig.direct.restore_object(Bucket=server.bucket, Key=KEY, RestoreRequest={"Days": 1})
        assert rig.parts.restores.ask(obj, state).phase == ONGOING
        assert [event.ours for event in events_of(rig, RestoreStarted)] == [False]


@needs_archive
def test_who_is_interrupted_leaves_at_once_and_the_next_load_finds_the_restore_under_way(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj, watch = rig.put(KEY, BODY, StorageClass="GLACIER"), Watching()
        failure: list[BaseException] = []

        def load() -> None:
            try:
                rig.parts.cache.open_tensors(obj, watch)
            except TransferCancelled as error:
                failure.append(error.with_traceback(None))

        thread = threading.Thread(target=load)
        thread.start()
        assert watch.waits.wait(10)
        watch.leave.set()
        thread.join(1)
        assert not thread.is_alive()
        assert "interrupted" in str(failure[0])
        assert eventually(lambda: not rig.parts.cache.snapshot().loading, within_s=2)
        rig.load(obj, BODY)
        assert asked_back(rig) == 1


@needs_archive
def test_a_copy_that_expires_in_the_middle_is_asked_back_and_the_load_goes_on_where_it_was(server, tmp_path):
    """Writing the same bytes into the archive again gives the same version, and no restored copy any more: as after expiry."""
    long = safetensors_bytes("long", 8 * MIB)
    with cache_rig(server, tmp_path / "ssd", long, more=WAIT) as rig:
        obj = rig.put(KEY, long, StorageClass="GLACIER")
        rig.direct.restore_object(Bucket=server.bucket, Key=KEY, RestoreRequest={"Days": 1})
        assert eventually(lambda: rig.parts.restores.look(obj).phase == RESTORED, within_s=10)
        rig.parts.engine.bucket.rate_bytes_per_s = 4 * MIB
        opened: list = []
        thread = threading.Thread(target=lambda: opened.append(rig.parts.cache.open_tensors(obj, Watching())))
        thread.start()
        assert eventually(lambda: rig.landed_bytes(KEY) > 2 * MIB)
        rig.put(KEY, long, StorageClass="GLACIER")
        rig.parts.engine.bucket.rate_bytes_per_s = 0
        thread.join(30)
        with opened[0]:
            rig.check_bytes(opened[0], long)
        assert asked_back(rig) == 1
        assert rig.proxy.sent_bytes(KEY) < 2 * len(long), "everything was read a second time"
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_what_is_fetched_ahead_never_asks_anything_back(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        for priority in (Priority.QUEUED, Priority.BACKGROUND):
            warming = rig.parts.cache.warm([obj], "ssd", priority)
            assert warming.wait(10)
            assert [failure.code for failure in warming.progress().failures] == ["archived"]
        assert asked_back(rig) == 0


@needs_archive
def test_a_load_that_joins_what_is_fetched_ahead_asks_back_and_waits_all_the_same(server, tmp_path):
    """The look-ahead asks for a queued model a moment before its loader does: it must not get the look-ahead's refusal."""
    with archive(server, tmp_path, WAIT) as rig:
        obj, gate, loaded = rig.put(KEY, BODY, StorageClass="GLACIER"), Gate(), []
        rig.proxy.on(gate, method="HEAD", path=KEY)
        warming = rig.parts.cache.warm([obj], "ram", Priority.QUEUED)
        assert gate.reached.wait(10)
        thread = threading.Thread(target=lambda: loaded.append(rig.parts.cache.open_tensors(obj, Watching())))
        thread.start()
        assert eventually(lambda: any(fetch.loads for fetch in rig.parts.cache._fetches._fetches.values()))
        gate.release.set()
        thread.join(30)
        with loaded[0]:
            rig.check_bytes(loaded[0], BODY)
        assert warming.wait(10)
        assert asked_back(rig) == 1
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_what_would_cost_more_than_the_owner_allows_or_has_no_price_is_not_asked_back(server, tmp_path):
    with archive(server, tmp_path, WAIT + "max_cost = 0.01\n") as rig:
        obj = rig.put(KEY, BODY, StorageClass="GLACIER")
        error = rig.fails(obj, ObjectArchived)
        assert "max_cost" in str(error)
        assert asked_back(rig) == 0
        assert [event.code for event in events_of(rig, RestoreFailed)] == ["archived"]


@needs_archive
def test_a_server_that_does_not_answer_for_a_while_ends_no_wait(server, tmp_path):
    with archive(server, tmp_path, WAIT) as rig:
        obj, watch = rig.put(KEY, BODY, StorageClass="GLACIER"), Watching()
        loaded: list = []
        thread = threading.Thread(target=lambda: loaded.append(rig.parts.cache.open_tensors(obj, watch)))
        thread.start()
        assert watch.waits.wait(10)
        outage = rig.proxy.on(CutBefore(), method="HEAD", path=KEY, times=2)
        thread.join(30)
        assert outage.hits
        with loaded[0]:
            rig.check_bytes(loaded[0], BODY)
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)


@needs_archive
def test_a_wait_has_an_end_where_the_owner_set_one(server, tmp_path):
    with archive(server, tmp_path, WAIT + f"max_wait_hours = {0.2 / 3600}\n") as rig:
        error = rig.fails(rig.put(KEY, BODY, StorageClass="GLACIER"), ObjectArchived)
        assert "max_wait_hours" in str(error)


def test_a_server_without_an_archive_says_so(seaweed, tmp_path):
    with cache_rig(seaweed, tmp_path / "ssd", BODY, more=WAIT) as rig:
        obj = rig.put("checkpoints/not-archived.safetensors", BODY)
        state = rig.parts.restores.look(obj)
        assert state.phase == READABLE
        try:
            rig.parts.restores.ask(obj, state)
        except ConfigError as error:
            said = str(error)
        assert "cannot be asked back" in said
        holds_no_secret([said], rig.secrets)


# -- without a server ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("storage_class", "restore", "archive_status", "phase"),
    [
        ("STANDARD", None, None, READABLE),
        ("GLACIER_IR", None, None, READABLE),
        ("ARCHIVE", None, None, READABLE),  # Google's, which is read at once
        ("GLACIER", None, None, ARCHIVED),
        ("GLACIER", 'ongoing-request="true"', None, ONGOING),
        ("DEEP_ARCHIVE", 'ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"', None, RESTORED),
        ("GLACIER", 'ongoing-request="false", expiry-date="never"', None, RESTORED),
        ("INTELLIGENT_TIERING", None, None, READABLE),
        ("INTELLIGENT_TIERING", None, "ARCHIVE_ACCESS", ARCHIVED),
        ("INTELLIGENT_TIERING", 'ongoing-request="true"', "DEEP_ARCHIVE_ACCESS", ONGOING),
    ],
)
def test_the_phase_is_what_the_headers_say(storage_class, restore, archive_status, phase):
    assert phase_of(storage_class, restore, archive_status)[0] == phase


def test_the_expiry_is_read_as_the_time_that_it_is():
    assert phase_of("GLACIER", 'ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"')[1] == 1356048000


@given(st.text(max_size=200), st.sampled_from(["GLACIER", "STANDARD", "DEEP_ARCHIVE"]))
def test_no_header_breaks_it(restore, storage_class):
    phase, expires_s = phase_of(storage_class, restore)
    assert phase in (READABLE, ARCHIVED, ONGOING, RESTORED)
    assert expires_s >= 0 or phase == RESTORED


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_looks_come_ever_more_rarely_but_never_stop(number, drawn):
    waited_s = poll_s(number, lambda: drawn)
    assert 0.8 * restores.FIRST_POLL_S <= waited_s <= 1.2 * LAST_POLL_S + 1e-9
    assert poll_s(number + 1, lambda: 0.5) >= poll_s(number, lambda: 0.5)


def test_durations_are_those_of_the_price_list():
    prices = load_prices()
    assert expected_s(prices, "aws", "GLACIER", "Standard") == 5 * 3600
    assert expected_s(prices, "aws", "DEEP_ARCHIVE", "Bulk") == 48 * 3600
    assert expected_s(prices, "", "GLACIER", "Expedited") == 300
    assert expected_s(prices, "", "GLACIER", "Expedited", 7_000_000_000) == 0, "nobody says for large ones"
    assert expected_s(prices, "aws", "DEEP_ARCHIVE", "Expedited") == 0
    assert [duration(s) for s in (20, 300, 5400, 18_000)] == ["20 s", "5 min", "2 h", "5 h"]


def test_what_was_asked_back_is_remembered_over_a_restart_and_damage_is_forgotten(tmp_path):
    path = tmp_path / "restores.json"
    AskedBack(StateFile(path)).add(Asked("o", "k", 5.0, "Bulk", 2))
    AskedBack(StateFile(path)).add(Asked("o", "other", 6.0, "Standard", 1))
    again = AskedBack(StateFile(path))
    assert [one.key for one in again.all()] == ["k", "other"]
    again.forget("o", "k")
    assert AskedBack(StateFile(path)).of("o", "k") is None
    StateFile(path).write([["o", "k", "soon", "Bulk", 2], 7, ["o"]])
    assert AskedBack(StateFile(path)).all() == ()


@pytest.mark.parametrize("line", ['on_load = "yes"', "days = 0", 'tier = "Fast"', "max_cost = -1", "max_wait_hours = -1", "dayz = 3"])
def test_a_restore_section_with_nonsense_is_refused_by_the_name_of_its_key(line):
    with pytest.raises(ConfigError) as caught:
        Config.from_text(f"[restore]\n{line}\n")
    assert f"restore.{line.split(' ')[0]}" in str(caught.value)


def test_a_fetch_that_waits_shows_that_and_not_the_bytes_it_has_not():
    class Obj:
        size_bytes = 10

    fetch = Fetch.__new__(Fetch)
    fetch.waiting = LoadProgress(10, 0, 0.0, 5.0, "bucket", "being restored")
    assert fetch.progress().waits == "being restored"
    assert RestoreProgress("GLACIER", 0.0, None).left_s is None
