"""Which objects a plan moves, and which it never does: pure, over made-up objects, uses and prices."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.storage.config import Config
from modelstream.storage.config_cost import CostConfig
from modelstream.storage.cost import moving
from modelstream.storage.cost_report import report
from modelstream.storage.errors import ConfigError
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.prices import load_prices
from modelstream.storage.provider_table import LEVELS, PROVIDERS, provider_of
from modelstream.storage.tier_apply import MOVED, Journal, Outcome
from modelstream.storage.tier_lifecycle import RULE, rule_for, with_rules
from modelstream.storage.tier_plan import TierPlan, read_plan, to_json
from modelstream.storage.tier_rules import DAY_S, Place, Rules, Used, a_month, current, reads_per_month

PRICES = load_prices()
NOW_S = 1.8e9
GB = 1_000_000_000
NEVER = Used()


def config(text: str = "") -> Config:
    return Config.from_text(text)


def an_object(
    key: str = "checkpoints/a.safetensors", size_bytes: int = 7 * GB, storage_class: str = "STANDARD", age_days: float = 400
) -> RemoteObject:
    return RemoteObject("o", ObjectId("https://s3.example.com", "b", key, "etag"), size_bytes, NOW_S - age_days * DAY_S, storage_class)


def rules(
    text: str = "",
    *,
    preset: str = "aws",
    uses: Callable[[RemoteObject], Used] = lambda obj: NEVER,
    held: Callable[[RemoteObject], str] = lambda obj: "",
    versioned: bool = False,
) -> Rules:
    read = config(text)
    place = Place("o", preset, "", versioned)
    return Rules(read.tiering, read.cost, PRICES, [place], uses=uses, held=held, now_s=NOW_S)


def decide(obj: RemoteObject, text: str = "", **more):
    return rules(text, **more).decide(obj)


# -- what is moved -------------------------------------------------------------------------------------------------------
def test_a_large_object_that_nobody_uses_goes_to_the_cold_class_and_never_to_an_archive():
    move = decide(an_object()).move
    assert move is not None
    assert (move.from_class, move.to_class, move.way, move.restore_s) == ("STANDARD", "GLACIER_IR", "copy", 0)
    assert move.saves > 0 and move.break_even_days is not None


def test_an_archive_is_chosen_only_where_somebody_may_wait_for_it():
    levels = '[tiering]\nlevels = ["hot", "warm", "cold", "archive"]\n'
    impatient = decide(an_object(), levels).move
    assert impatient is not None and impatient.to_class == "GLACIER_IR"
    patient = decide(an_object(), levels + "allowed_restore_hours = 12\n").move
    assert patient is not None and patient.to_class in ("GLACIER", "DEEP_ARCHIVE") and patient.restore_s > 0


def test_what_is_used_often_stays_hot_and_comes_back_from_where_it_costs_more():
    busy = lambda obj: Used(500, NOW_S - 3600)  # noqa: E731
    assert decide(an_object(), uses=busy).move is None
    back = decide(an_object(storage_class="GLACIER_IR"), uses=busy).move
    assert back is not None and back.to_class == "STANDARD"


@pytest.mark.parametrize(
    ("text", "obj", "more", "why"),
    [
        ("", an_object(), {"held": lambda obj: "it is pinned"}, "pinned"),
        ("", an_object(age_days=5), {}, "newer than 30 days"),
        ("", an_object(), {"uses": lambda obj: Used(1, NOW_S - DAY_S)}, "used within 7 days"),
        ("", an_object(size_bytes=1000), {}, ""),
        ("[tiering]\nmin_saving = 5\n", an_object(), {}, "less than 5"),
        ('[tiering]\nlevels = ["hot"]\n', an_object(), {}, ""),
        ('[[tiering.folders]]\nprefix = "checkpoints/"\nkeep = true\n', an_object(), {}, "by the configuration"),
        ('[[tiering.folders]]\nprefix = "checkpoints/"\nreads_per_month = 50\n', an_object(), {}, "costs least"),
        ('[[tiering.folders]]\nprefix = "checkpoints/"\nmin_age_days = 1000\n', an_object(), {}, "newer than 1000 days"),
        ("", an_object(), {"preset": "wasabi"}, "one class"),
        ("", an_object(), {"preset": "minio"}, "no price list"),
        ("", an_object(storage_class="DEEP_ARCHIVE"), {}, "nobody here has used it"),
        ("", an_object(storage_class="EXPRESS_ONEZONE"), {}, "no price is known for EXPRESS_ONEZONE"),
    ],
)
def test_what_stays_and_why(text, obj, more, why):
    decided = decide(obj, text, **more)
    assert decided.move is None
    assert why in decided.why


def test_the_longest_prefix_of_a_folder_wins():
    text = (
        '[[tiering.folders]]\nprefix = "checkpoints/"\nkeep = true\n'
        '[[tiering.folders]]\nprefix = "checkpoints/old/"\nlevels = ["hot", "warm"]\n'
    )
    move = decide(an_object("checkpoints/old/a.safetensors"), text).move
    assert move is not None and move.to_class == "STANDARD_IA"
    assert decide(an_object("checkpoints/a.safetensors"), text).move is None


def test_only_classes_that_the_owner_names_are_taken_where_he_names_some():
    move = decide(an_object(), '[tiering]\nclasses = ["ONEZONE_IA"]\n').move
    assert move is not None and move.to_class == "ONEZONE_IA"


def test_a_bucket_that_keeps_versions_is_moved_by_its_own_rule_or_it_is_said_what_stays_behind():
    assert decide(an_object(), versioned=True).move.way == "lifecycle"
    plan, _ = rules('[tiering]\nway = "copy"\n', versioned=True).plan([an_object()])
    assert plan.moves[0].way == "copy"
    assert any("old versions" in note for note in plan.notes)
    warmer = decide(an_object(storage_class="GLACIER_IR"), uses=lambda obj: Used(500, NOW_S), versioned=True).move
    assert warmer is not None and warmer.way == "copy", "a rule never makes warmer"


def test_the_owners_own_prices_decide():
    dear = '[cost.egress_per_gb]\n"o" = 0.0\n[cost.storage_per_gb_month]\n"o" = 0.001\n'
    assert decide(an_object(), dear).move is None
    (line,) = report(*rules('[cost.storage_per_gb_month]\n"o" = 0.5\n', preset="minio").plan([an_object()])).by_origin
    assert line.month == pytest.approx(3.5)


CLASSES = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE", "UNHEARD_OF")
OBJECTS = st.builds(
    an_object,
    size_bytes=st.integers(0, 60 * GB),
    storage_class=st.sampled_from(CLASSES),
    age_days=st.floats(0, 2000),
)


@settings(max_examples=300)
@given(
    OBJECTS,
    st.integers(0, 1000),
    st.floats(0, 400),
    st.sampled_from(["", "it is pinned"]),
    st.lists(st.sampled_from(LEVELS), min_size=1, unique=True),
    st.floats(0, 200),
)
def test_no_plan_touches_what_is_held_new_or_would_not_be_there_in_time(obj, uses, idle_days, held, levels, hours):
    used = Used(uses, NOW_S - idle_days * DAY_S if uses else 0.0)
    text = f"[tiering]\nlevels = {json.dumps(levels)}\nallowed_restore_hours = {hours}\n"
    made = rules(text, uses=lambda one: used, held=lambda one: held)
    decided = made.decide(obj)
    move = decided.move
    if move is None:
        assert decided.why
        return
    provider, now = provider_of("aws"), current(PRICES.of("aws"), obj.storage_class)
    assert not held
    assert now is not None
    assert NOW_S - obj.modified_s >= 30 * DAY_S
    assert move.restore_s <= hours * 3600
    assert provider.level_of(move.to_class) in levels
    assert move.to_class in provider.candidates(tuple(levels), ())
    assert move.to_class != move.from_class
    use = made.use_of(obj, Place("o", "aws"))
    there = [row for row in PRICES.of("aws") if row.storage_class == move.to_class]
    assert any(abs(a_month(use, row) - move.after) < 1e-9 for row in there)
    assert move.fee == pytest.approx(
        min(moving(use, now, row, served_days=(NOW_S - obj.modified_s) / DAY_S).total for row in there), abs=1e-6
    )
    if now.restore_s <= hours * 3600:
        assert move.saves >= 0.01
        assert move.break_even_days is None or move.break_even_days <= use.life_days + 1e-6


# -- how often an object is read -------------------------------------------------------------------------------------------
@given(st.integers(0, 10_000), st.floats(0, 3000), st.floats(0, 3000))
def test_reads_are_never_none_and_grow_with_use_and_fade_with_idleness(uses, age_days, idle_days):
    idle_days = min(idle_days, age_days)
    written, tiering = NOW_S - age_days * DAY_S, config().tiering

    def rate(n: int, idle: float) -> float:
        return reads_per_month(Used(n, NOW_S - idle * DAY_S), written, NOW_S, tiering)

    assert rate(uses, idle_days) > 0
    assert rate(uses + 1, idle_days) >= rate(uses, idle_days)
    assert rate(uses, idle_days) >= rate(uses, min(age_days, idle_days + 30)) - 1e-12
    many = dataclasses.replace(tiering, machines=4)
    assert reads_per_month(Used(uses, 0.0), written, NOW_S, many) == pytest.approx(
        4 * reads_per_month(Used(uses, 0.0), written, NOW_S, tiering)
    )


# -- the table of providers --------------------------------------------------------------------------------------------------
def test_every_class_of_the_table_has_a_price_or_is_taken_only_by_name():
    for provider in PROVIDERS.values():
        priced = {row.storage_class for row in PRICES.of(provider.preset)}
        if provider.ways:
            assert {name for names in provider.classes.values() for name in names} <= priced
    assert provider_of("").ways == () == provider_of("minio").ways
    assert provider_of("aws").level_of("INTELLIGENT_TIERING") == "hot"
    assert provider_of("aws").level_of("NO_SUCH") == ""


# -- the plan as a file ------------------------------------------------------------------------------------------------------
def a_plan() -> TierPlan:
    plan, _ = rules().plan([an_object(), an_object("loras/ü🦆\n.safetensors", 9 * GB), an_object("new", age_days=1)])
    assert len(plan.moves) == 2
    return plan


def test_a_plan_comes_back_from_its_file_as_it_was(tmp_path):
    plan = a_plan()
    path = tmp_path / "plan.json"
    path.write_text(to_json(plan))
    assert read_plan(path, ["o"]) == plan
    assert read_plan(path, ["o"]).id == plan.id


def _changed(**change):
    document = json.loads(to_json(a_plan()))
    document["moves"][0] |= change
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"form": "modelstream-tiering-1"}',
        to_json(a_plan()).replace("tiering-1", "tiering-9"),
        _changed(origin="elsewhere"),
        _changed(size_bytes="7"),
        _changed(size_bytes=True),
        _changed(before=float("nan")),
        _changed(way="delete"),
        _changed(to_class="A;B"),
        _changed(endpoint="https://evil.example"),
        _changed(key=3),
    ],
)
def test_a_file_that_no_plan_wrote_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_plan(path, ["o"])
    assert "plan.json" in str(caught.value)


# -- the journal ---------------------------------------------------------------------------------------------------------------
@given(st.integers(0, 2000))
def test_a_journal_that_was_cut_off_anywhere_tells_no_more_than_was_written(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    journal = Journal(path)
    plan = a_plan()
    journal.upload("o", "large", "upload-1")
    for move in plan.moves:
        journal.ended(Outcome(move, MOVED, etag="new"))
    journal.upload("o", "large", "")
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    read = Journal(path)
    assert set(read.etags) <= {(move.origin, move.key) for move in plan.moves}
    assert read.uploads.get(("o", "large"), "") in ("", "upload-1")
    read.upload("o", "other", "upload-2")  # a torn line does not swallow the next
    assert Journal(path).uploads.get(("o", "other")) == "upload-2"


# -- rules of a bucket ---------------------------------------------------------------------------------------------------------
def test_rules_of_others_stay_and_ours_are_put_once():
    theirs = {"ID": "expire-temp", "Status": "Enabled", "Filter": {"Prefix": "temp/"}, "Expiration": {"Days": 1}}
    first = with_rules([theirs], {"GLACIER_IR"})
    assert first == [theirs, rule_for("GLACIER_IR")]
    assert with_rules(first, {"GLACIER_IR"}) is None
    second = with_rules(first, {"STANDARD_IA"})
    assert second is not None and [rule["ID"] for rule in second] == ["expire-temp", f"{RULE}GLACIER_IR", f"{RULE}STANDARD_IA"]
    off = [{**rule_for("GLACIER_IR"), "Status": "Disabled"}]
    assert with_rules(off, {"GLACIER_IR"}) == [rule_for("GLACIER_IR")]


# -- configuration ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[tiering]\nlevels = []\n", "tiering.levels"),
        ('[tiering]\nlevels = ["lukewarm"]\n', "tiering.levels[0]"),
        ("[tiering]\nmachines = 0\n", "tiering.machines"),
        ("[tiering]\nshare_from_bucket = 2\n", "tiering.share_from_bucket"),
        ('[tiering]\nway = "delete"\n', "tiering.way"),
        ("[[tiering.folders]]\nkeep = true\n", "tiering.folders[0].prefix"),
        ('[[tiering.folders]]\nprefix = "a/"\nkeeep = true\n', "tiering.folders[0].keeep"),
        ('[cost]\nprice_file = "relative.json"\n', "cost.price_file"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_key(text, named):
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert named in str(caught.value)


def test_what_a_month_costs_is_the_same_by_origin_class_and_model():
    objects = [an_object(f"checkpoints/{n}.safetensors", n * GB, cls) for n, cls in enumerate(CLASSES, 1)]
    made = report(*rules().plan(objects))
    assert made.unpriced == 1
    for lines in (made.by_origin, made.by_class, made.models):
        assert sum(line.month or 0 for line in lines) == pytest.approx(made.total.month)
        assert sum(line.after or 0 for line in lines) == pytest.approx(made.total.after)
        assert sum(line.objects for line in lines) == len(objects)
    assert isinstance(CostConfig().price_file, type(None))
