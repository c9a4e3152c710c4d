"""Prices, the cost of keeping and moving, and the placement that follows from them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.cost import Use, feasible, keeping
from modelstream.storage.errors import ConfigError
from modelstream.storage.placement import Placed, choose, plan
from modelstream.storage.prices import PriceClass, load_prices

PRICES = load_prices()
BY_ID = {c.id: c for c in PRICES.classes}
SDXL = 6_940_000_000


def a_month(class_id: str, reads: float, **use: object) -> float:
    asked = Use(SDXL, reads, life_days=360, **use)  # type: ignore[arg-type]
    return keeping(asked, BY_ID[class_id]).a_month(asked.life_days)


# -- the list -----------------------------------------------------------------------------------------------------------
def test_every_row_of_the_shipped_list_says_when_and_where_it_was_read() -> None:
    assert len(PRICES.classes) == 17
    assert all(c.as_of.startswith("2026") and c.source for c in PRICES.classes)


def test_a_listing_without_a_storage_class_means_standard() -> None:
    standard, archive = PRICES.current("aws", ""), PRICES.current("aws", "GLACIER")
    assert standard is not None and standard.id == "s3.standard"
    assert archive is not None and archive.id == "s3.glacier_fr.bulk", "the cheapest way back"
    assert PRICES.current("minio", "STANDARD") is None


ROW = {"id": "a", "preset": "aws", "storage_class": "STANDARD", "store_per_gb_month": 0.02, "as_of": "2026", "source": "s"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"classes": 3}',
        '{"classes": [1]}',
        "[" * 100_000,
        *(
            json.dumps({"classes": [ROW | change]})
            for change in (
                {"store_per_gb_month": -1},
                {"store_per_gb_month": "0.02"},
                {"store_per_gb_month": 1e9},
                {"min_days": 1e9},
                {"surprise": 1},
                {"source": ""},
                {"restore_tier": "Bulk"},
                {"min_bytes": 0.5},
            )
        ),
        '{"classes": [' + json.dumps(ROW | {"store_per_gb_month": 0}).replace('": 0,', '": NaN,') + "]}",
        json.dumps({"classes": [ROW, ROW]}),
        json.dumps({"classes": [{k: v for k, v in ROW.items() if k != "source"}]}),
    ],
)
def test_a_price_file_with_nonsense_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_prices(file)
    with pytest.raises(ConfigError):
        load_prices(tmp_path / "absent.json")


# -- the worked examples of docs/cost.md -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("class_id", "reads", "expected"),
    [
        ("b2", 1, 0.048),
        ("s3.deep_archive.standard", 1, 0.77),
        ("wasabi", 4, 0.056),
        ("r2.standard", 4, 0.104),
        ("s3.deep_archive.standard", 4, 3.06),
        ("s3.standard", 1, 0.785),
    ],
)
def test_a_month_of_one_sdxl_checkpoint_outside_the_region_costs_what_the_document_says(
    class_id: str, reads: float, expected: float
) -> None:
    assert a_month(class_id, reads) == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize(
    ("nearer", "colder", "reads"),
    [
        ("s3.standard", "s3.standard_ia", 1.05),
        ("s3.standard_ia", "s3.glacier_ir", 0.43),
        ("s3.standard", "s3.glacier_ir", 0.63),
        ("r2.standard", "r2.infrequent", 0.50),
    ],
)
def test_break_even_reads_a_month_inside_the_region(nearer: str, colder: str, reads: float) -> None:
    for factor, cheaper in ((0.97, colder), (1.03, nearer)):
        costs = {c: a_month(c, reads * factor, leaves_region=False) for c in (nearer, colder)}
        assert min(costs, key=costs.__getitem__) == cheaper


# -- where storage price alone is wrong ------------------------------------------------------------------------------------
def aws() -> tuple[PriceClass, ...]:
    return PRICES.of("aws")


def chosen(use: Use, now: str = "s3.standard", age_days: float = 400) -> str:
    return choose(Placed("m", use, BY_ID[now], age_days), aws()).to.id


def test_a_file_that_prompts_ask_for_never_goes_where_it_has_to_be_restored() -> None:
    assert not chosen(Use(SDXL, 0.1, leaves_region=False)).startswith(("s3.deep", "s3.glacier_fr"))


def test_a_file_nobody_reads_goes_to_the_deepest_archive() -> None:
    assert chosen(Use(SDXL, 0.0)).startswith("s3.deep_archive")


def test_a_frequently_read_file_leaves_the_infrequent_class() -> None:
    assert chosen(Use(SDXL, 20, leaves_region=False), now="s3.standard_ia") == "s3.standard"


def test_a_file_with_a_short_life_stays_because_of_the_minimum_duration() -> None:
    assert chosen(Use(SDXL, 0.0, life_days=5)) == "s3.standard"


def test_a_small_file_is_not_moved_where_it_is_billed_as_a_larger_one() -> None:
    assert chosen(Use(4_000, 0.0, life_days=60)) == "s3.standard"


def test_waiting_machines_count() -> None:
    use = Use(SDXL, 0.05, leaves_region=False, allowed_wait_s=1e6, stall_per_s=2.5 / 3600)
    assert not BY_ID[chosen(use)].is_archive


def test_what_is_pinned_or_new_stays() -> None:
    use = Use(SDXL, 0.0)
    held = choose(Placed("m", use, BY_ID["s3.standard"], 400, held=True), aws())
    young = choose(Placed("m", use, BY_ID["s3.standard"], 3), aws(), keep_days=7)
    assert not held.moves and "pinned" in held.reason
    assert not young.moves and "newer" in young.reason


def test_an_archived_file_that_somebody_wants_at_once_comes_out() -> None:
    choice = choose(Placed("m", Use(SDXL, 0.2, leaves_region=False), BY_ID["s3.deep_archive.standard"], 400), aws())
    assert choice.moves and not choice.to.is_archive and "restore" in choice.reason


def test_the_plan_begins_with_the_greatest_saving() -> None:
    placed = [Placed(str(i), Use(size, 0.0), BY_ID["s3.standard"], 400) for i, size in enumerate((10**9, 10**10, 10**8))]
    assert [c.placed.subject for c in plan(placed, aws())] == ["1", "0", "2"]


# -- brute force -------------------------------------------------------------------------------------------------------------
def day_by_day(placed: Placed, new: PriceClass) -> float:
    """The bill of one object, added up day by day and read by read: another way to the same sum."""
    use, now, bill = placed.use, placed.now, 0.0
    gb, days = use.size_bytes / 1e9, round(use.life_days)
    parts = -(-use.size_bytes // use.part_bytes)
    kept_days = placed.age_days
    if new.storage_class != now.storage_class:
        while kept_days < now.min_days:  # billed on for what has left early
            step = min(1.0, now.min_days - kept_days)
            bill += step * now.store_per_gb_month / 30 * (max(use.size_bytes, now.min_bytes) + now.overhead_bytes) / 1e9
            kept_days += step
        bill += now.retrieve_per_gb * gb + now.restore_per_1k / 1000
        for _ in range(parts):
            bill += now.get_per_1k / 1000 + new.put_per_1k / 1000
        kept_days = 0.0
    a_day = new.store_per_gb_month / 30 * (max(use.size_bytes, new.min_bytes) + new.overhead_bytes) / 1e9
    out_gb = 0.0
    for _ in range(days):
        bill += a_day
        kept_days += 1
        reads = use.reads_per_month / 30
        bill += reads * (gb * new.retrieve_per_gb + parts * new.get_per_1k / 1000 + new.restore_per_1k / 1000)
        bill += reads * new.restore_s * use.stall_per_s
        out_gb += reads * gb if use.leaves_region else 0.0
    bill += max(0.0, out_gb - new.egress_free_x_stored * gb * days / 30) * new.egress_per_gb
    return bill + max(0.0, new.min_days - kept_days) * a_day


def random_class(r: random.Random, i: int) -> PriceClass:
    archive = r.random() < 0.4
    return PriceClass(
        id=str(i),
        preset="x",
        storage_class=r.choice("ABCDE"),
        as_of="2026",
        source="made",
        store_per_gb_month=r.choice([0.0, 0.001, 0.004, 0.0125, 0.023]) * r.uniform(0.5, 2),
        retrieve_per_gb=r.choice([0.0, 0.01, 0.03, 0.05]),
        egress_per_gb=r.choice([0.0, 0.01, 0.09]),
        get_per_1k=r.choice([0.0, 0.0004, 0.01]),
        put_per_1k=r.choice([0.0, 0.005, 0.05]),
        restore_per_1k=r.choice([0.0, 0.1, 10]) if archive else 0.0,
        min_days=r.choice([0, 30, 90, 180, 365]),
        min_bytes=r.choice([0, 131072]),
        overhead_bytes=r.choice([0, 40960]),
        restore_s=r.choice([300, 18000, 172800]) if archive else 0.0,
        restore_max_bytes=r.choice([0, 250_000_000]) if archive else 0,
        egress_free_x_stored=r.choice([0.0, 0.0, 3.0]),
    )


def random_case(r: random.Random) -> tuple[Placed, list[PriceClass]]:
    classes = [random_class(r, i) for i in range(r.randint(1, 7))]
    use = Use(
        size_bytes=int(10 ** r.uniform(3, 10.8)),
        reads_per_month=r.choice([0.0, 0.01, 0.1, 0.5, 1, 4, 30]),
        life_days=r.choice([1, 10, 29, 60, 100, 200, 365]),
        leaves_region=r.random() < 0.5,
        part_bytes=r.choice([8, 64]) << 20,
        allowed_wait_s=r.choice([0, 400, 20_000, 1e6]),
        stall_per_s=r.choice([0.0, 2.5 / 3600]),
    )
    return Placed("m", use, r.choice(classes), age_days=r.choice([0, 5, 31, 100, 400])), classes


def test_the_choice_is_the_one_that_brute_force_finds_in_ten_thousand_random_cases() -> None:
    r = random.Random(7)
    for _ in range(10_000):
        placed, classes = random_case(r)
        choice = choose(placed, classes)
        bills = {c.id: day_by_day(placed, c) for c in classes if feasible(placed.use, c)}
        assert choice.after.total == pytest.approx(day_by_day(placed, choice.to), rel=1e-9, abs=1e-12)
        if not bills:
            assert choice.to is placed.now, "nowhere to go: it stays and the plan says what it costs"
        else:
            assert feasible(placed.use, choice.to)
            assert choice.after.total == pytest.approx(min(bills.values()), rel=1e-9, abs=1e-12)
        assert choice.before.total == pytest.approx(day_by_day(placed, placed.now), rel=1e-9, abs=1e-12)


@given(st.integers(0, 10**6))
def test_a_move_within_the_expected_life_pays_back_before_its_end(seed: int) -> None:
    placed, classes = random_case(random.Random(seed))
    choice = choose(placed, classes)
    if choice.moves and feasible(placed.use, placed.now):
        assert choice.saves >= 0
        assert choice.break_even_days is None or math.isfinite(choice.break_even_days)
