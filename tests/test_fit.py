"""Whether a model fits: the rule over values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.fit import EVICT, NO, OFFLOAD, UNKNOWN, WHOLE, Component, Estimate, Held, Room, Work, judge

GB = 1 << 30
MODEL = "diffusion_model"


def estimate(weights: int, asked: int = GB, least: int = GB // 2, device: str = "cuda:0") -> Estimate:
    part = Component(MODEL, "SDXL", {"F16": weights}, {"float16": weights}, device)
    return Estimate("a", weights, "SDXL", (part,), (Work(MODEL, asked, least, asked),), (1, 4, 128, 128))


def room(free: int, *held: Held, device: str = "cuda:0", **more: object) -> dict[str, Room]:
    values: dict[str, object] = {
        "inference_bytes": GB,
        "reserved_bytes": GB // 2,
        "rate_bytes_per_s": 10 * GB,
        "host_bytes": 64 * GB,
        **more,
    }
    return {device: Room(device, 24 * GB, free, held=held, **values)}  # type: ignore[arg-type]


def test_a_model_that_finds_room_fits_whole_and_nobody_leaves() -> None:
    verdict = judge(estimate(5 * GB), room(12 * GB, Held("other", 8 * GB)))
    assert (verdict.kind, verdict.going, verdict.stage) == (WHOLE, (), MODEL)
    assert verdict.needed_bytes == int(6.5 * GB) and verdict.left_bytes == int(11.5 * GB)


def test_those_who_have_to_leave_are_named_in_their_order_and_no_more_of_them_than_need_be() -> None:
    verdict = judge(estimate(5 * GB), room(4 * GB, Held("first", 2 * GB), Held("second", 2 * GB), Held("third", 8 * GB)))
    assert (verdict.kind, verdict.going, verdict.freed_bytes) == (EVICT, ("first", "second"), 4 * GB)


def test_what_an_empty_device_cannot_hold_stays_in_host_memory_and_costs_seconds_at_every_step() -> None:
    verdict = judge(estimate(10 * GB), room(6 * GB, Held("other", 2 * GB)))
    assert (verdict.kind, verdict.going) == (OFFLOAD, ("other",))
    assert verdict.offload_bytes == 3 * GB  # 8 GB are free then, of which 1 GB stays free for the least working memory
    assert verdict.step_seconds == 0.3


def test_seconds_are_not_made_up_where_nobody_measured() -> None:
    assert judge(estimate(10 * GB), room(6 * GB, rate_bytes_per_s=None)).step_seconds is None


def test_a_device_too_small_for_the_working_memory_is_too_small() -> None:
    verdict = judge(estimate(5 * GB, asked=9 * GB, least=8 * GB), room(6 * GB))
    assert (verdict.kind, verdict.reason) == (NO, "working memory") and verdict.missing_bytes > 2 * GB


def test_without_offloading_or_host_memory_it_does_not_fit() -> None:
    assert judge(estimate(10 * GB), room(6 * GB, offloads=False)).kind == NO
    verdict = judge(estimate(60 * GB), room(6 * GB, host_bytes=10 * GB))
    assert (verdict.kind, verdict.reason) == (NO, "host memory") and verdict.missing_bytes > 40 * GB


def test_on_a_host_all_components_have_to_fit_together() -> None:
    parts = tuple(Component(kind, "x", {}, {"float32": 4 * GB}, "cpu") for kind in (MODEL, "text_encoder", "vae"))
    whole = Estimate("a", 12 * GB, "SDXL", parts, (Work(MODEL, 99 * GB, 99 * GB, GB), Work("vae", 0, 0, 2 * GB)))
    assert whole.peak_bytes == 14 * GB
    assert judge(whole, room(15 * GB, device="cpu", reserved_bytes=0)).kind == WHOLE
    assert judge(whole, room(13 * GB, Held("idle", 2 * GB), device="cpu", reserved_bytes=0)).kind == EVICT
    assert judge(whole, room(10 * GB, Held("idle", 2 * GB), device="cpu", reserved_bytes=0)).missing_bytes == 2 * GB


def test_the_worst_component_decides() -> None:
    parts = (Component(MODEL, "x", {}, {"float16": 10 * GB}, "cuda:0"), Component("vae", "y", {}, {"float16": GB // 4}, "cuda:0"))
    verdict = judge(Estimate("a", 11 * GB, "SDXL", parts, (Work(MODEL, GB, GB // 2),)), room(8 * GB))
    assert (verdict.kind, verdict.stage) == (OFFLOAD, MODEL)


def test_an_unknown_architecture_is_bytes_only_and_says_so() -> None:
    verdict = judge(Estimate("a", GB, "", (Component("other", "", {"F16": GB}),), problem="no such names"), {})
    assert (verdict.kind, verdict.reason) == (UNKNOWN, "no such names")


@given(
    weights=st.integers(0, 40 * GB), free=st.integers(0, 40 * GB), asked=st.integers(0, 10 * GB), least=st.integers(0, 10 * GB),
    held=st.lists(st.integers(0, 8 * GB), max_size=4), offloads=st.booleans(),
)  # fmt: skip
def test_more_room_never_makes_it_worse_and_nothing_is_promised_that_is_not_there(weights, free, asked, least, held, offloads) -> None:
    order = (WHOLE, EVICT, OFFLOAD, NO)
    model = estimate(weights, max(asked, least), least)
    others = tuple(Held(str(place), size) for place, size in enumerate(held))
    verdict = judge(model, room(free, *others, offloads=offloads))
    more = judge(model, room(free + GB, *others, offloads=offloads))
    assert order.index(more.kind) <= order.index(verdict.kind)
    assert verdict.freed_bytes == sum(others[int(label)].size_bytes for label in verdict.going)
    if verdict.kind in (WHOLE, EVICT):
        assert weights <= free + verdict.freed_bytes
    if verdict.kind == OFFLOAD:
        assert 0 < verdict.offload_bytes <= weights and weights - verdict.offload_bytes <= free + sum(held)
    if verdict.kind == NO:
        assert verdict.missing_bytes > 0
