"""Work in slices gives what the plain functions give, and rests only where it may."""

import itertools
import operator
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage import breath

SETS = st.lists(st.sets(st.text("abc", max_size=4), max_size=30), max_size=4)


@given(SETS)
def test_merging_sorted_parts_is_sorting_their_union(sets):
    old = breath.ROWS
    breath.ROWS = 3
    try:
        assert breath.merged([sorted(one) for one in sets]) == sorted(set().union(*sets))
    finally:
        breath.ROWS = old


@given(st.lists(st.text("abc", max_size=3), max_size=20), st.integers(1, 5))
def test_slices_cover_everything_once_and_order_is_seen_across_their_edges(keys, rows):
    assert [i for part in breath.slices(len(keys), rows) for i in range(part.start, part.stop)] == list(range(len(keys)))
    assert breath.strictly_sorted(keys) == all(itertools.starmap(operator.lt, itertools.pairwise(keys)))
    assert breath.equal(keys, tuple(keys)) and not breath.equal(keys, [*keys, "d"])


def test_the_main_thread_never_rests_and_others_do(monkeypatch):
    rests = []
    monkeypatch.setattr(time, "sleep", rests.append)
    breath.breathe()
    assert rests == []
    thread = threading.Thread(target=breath.breathe)
    thread.start()
    thread.join()
    assert len(rests) == 1
