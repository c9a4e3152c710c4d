"""Names of results: the owner's pattern with anybody's values in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.errors import ConfigError, PublishRefused
from modelstream.storage.layout import is_safe_name
from modelstream.storage.result_keys import Pattern, key_of, next_counter

PATTERN = Pattern.checked("{date}/{prefix}_{seed}_{counter}-{batch}")


@given(st.text(max_size=200), st.text(max_size=40))
def test_no_value_makes_a_path_or_an_unsafe_name(prefix, seed):
    before, after = PATTERN.halves({"prefix": prefix, "seed": seed, "batch": 0}, 1e9)
    key = key_of(before, 1, after, "png")
    assert key.count("/") == 1 and is_safe_name(key, windows=True)


@given(st.lists(st.integers(1, 10**6)), st.text("abc.-_()[]+*", max_size=8))
def test_the_next_number_is_one_more_than_the_largest(numbers, before):
    keys = [f"{before}{n:05d}.png" for n in numbers] + ["other_99999999.png", before, f"{before}x.png"]
    assert next_counter(keys, before + "") >= max(numbers, default=0) + 1
    if not before.startswith("other") and before:
        assert next_counter(keys, before) == max(numbers, default=0) + 1


def test_a_pattern_without_a_counter_gets_one_and_unknown_placeholders_are_refused():
    assert Pattern.checked("a/{prefix}").text == "a/{prefix}_{counter}"
    for wrong in ("{user}/x", "{counter}{counter}", "/abs", "{", "a}b"):
        with pytest.raises(ConfigError):
            Pattern.checked(wrong)


def test_an_owners_pattern_that_climbs_is_refused_when_it_is_used():
    before, after = Pattern.checked("../{prefix}").halves({"prefix": "x"}, 0.0)
    with pytest.raises(PublishRefused):
        key_of(before, 1, after, "png")
