"""The write-behind queue: order, holding back, and who ends it."""

from __future__ import annotations

import threading

from modelstream.cache.writeback import WriteBehind

LONG_S = 3600.0


def test_a_held_job_runs_at_once_when_somebody_waits_for_its_owner() -> None:
    writer, ran = WriteBehind(), []
    writer.submit("a", lambda: ran.append("a1"), LONG_S)
    writer.submit("a", lambda: ran.append("a2"), LONG_S)
    assert writer.wait("a", 10)
    assert ran == ["a1", "a2"]


def test_a_held_job_does_not_hold_up_another_owners_job() -> None:
    writer, done = WriteBehind(), threading.Event()
    writer.submit("held", lambda: None, LONG_S)
    writer.submit("free", done.set)
    assert done.wait(10)
    assert writer.queued_jobs() == 1
    writer.forget("held")
    assert writer.wait("held", 10)


def test_jobs_of_one_owner_keep_their_order_when_a_later_one_is_not_held() -> None:
    writer, ran, done = WriteBehind(), [], threading.Event()
    writer.submit("a", lambda: ran.append("first"), LONG_S)
    writer.submit("a", lambda: (ran.append("second"), done.set()))
    assert done.wait(10)
    assert ran == ["first", "second"]


def test_a_held_job_becomes_due_by_itself() -> None:
    writer, done = WriteBehind(), threading.Event()
    writer.submit("a", done.set, 0.01)
    assert done.wait(10)
    assert writer.wait("a", 10)


def test_a_forgotten_owner_has_nothing_left_and_the_thread_ends() -> None:
    writer = WriteBehind()
    writer.submit("a", lambda: None, LONG_S)
    writer.forget("a")
    assert writer.wait("a", 10)
    for thread in threading.enumerate():
        if thread.name == "modelstream-ssd-write":
            thread.join(10)
            assert not thread.is_alive()
    assert writer.queued_jobs() == 0
