"""``bench lookahead``: twelve queued prompts over four checkpoints that do not fit into RAM together, on a throttled link.

Each prompt makes one image; the order is A B C D three times.  Measured from the first prompt's submission to the last one's
end, in the real ComfyUI, by itself and with nothing in any cache at its start:

``without``     look-ahead off
``with``        look-ahead on, all else equal
``all there``   the same again in a ComfyUI whose SSD has all four: what is left when nothing has to be fetched

What can be hidden is the transfer of everything but the first model, as far as the computing that goes on meanwhile is
long enough for it: the ideal is ``all there`` + the first transfer + what of the other transfers exceeds the computing.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .processes import CLIENT_CORE, SERVER_CORE, pinned
from .report import Check, Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("total s", "total_s", ".1f"),
    Column("loads s", "load_s", ".1f"),
    Column("bucket GB", "bucket_gb"),
    Column("useful", "useful", ".0f"),
    Column("late", "late", ".0f"),
    Column("wasted", "wasted", ".0f"),
    Column("loop ms", "loop_ms", ".2f"),
)
NAMES = "ABCD"
SEQUENCE = NAMES * 3
RAM_MODELS = 2.2
SETTINGS = ("without", "with", "all there")
REPETITIONS = 2
NODES = 200
LIMIT_S = 500.0
STEPS = 12


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.seaweed import Seaweed

    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as scratch, Seaweed(prefix=pinned(SERVER_CORE)) as server:
        body = checkpoint(quick=quick)
        for number, name in enumerate(NAMES):
            server.client().put_object(
                Bucket=server.bucket,
                Key=f"checkpoints/{name}.safetensors",
                Body=body[:-2] + bytes([number, 0]),
                ChecksumAlgorithm="CRC64NVME",
            )
        rate_mbit = 8 * len(body) / 1e6 / 4.0  # one model is four seconds
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            kept = Path(scratch) / f"base-{repetition}"
            for setting in SETTINGS:
                row: Row = {"situation": "queue of 12", "client": "Model Stream", "setting": setting, "repetition": repetition}
                report.add({**row, **one_run(setting, server, len(body), rate_mbit, kept)})
        report.add({"situation": "event loop", "client": "Model Stream", "setting": f"{NODES} nodes", **event_loop()})
    return report.finish(checks(report.rows))


def checkpoint(*, quick: bool) -> bytes:
    from tests.rig.checkpoints import models

    made = models("tiny", depth=4 if quick else 8)
    return made.path("checkpoints/tiny.safetensors").read_bytes()


def one_run(setting: str, server: Any, size_bytes: int, rate_mbit: float, kept: Path) -> Row:
    from tests.rig.comfy import ComfyServer
    from tests.rig.processes import ServerFailed

    prefetch = "[prefetch]\nlook_ahead = false\n" if setting == "without" else ""
    more = (
        f"{prefetch}[transfer]\nrate_limit_mbit = {rate_mbit}\n[ram]\nbudget_gb = {RAM_MODELS * size_bytes / (1 << 30)}\n"
        "[ssd]\nfree_floor_gb = 0.1\n"
    )
    base = kept if setting != "without" else None
    try:
        with ComfyServer(config=server.config_toml(more=more), base=base, prefix=pinned(CLIENT_CORE)) as comfy:
            warm_up(comfy)
            started_s = time.monotonic()
            prompts = [comfy.submit(image(f"{name}.safetensors", number)) for number, name in enumerate(SEQUENCE)]
            for prompt in prompts:
                comfy.wait(prompt, timeout_s=LIMIT_S).expect()
            total_s = time.monotonic() - started_s
            status = comfy.get("/modelstream/status")
            settle(comfy)
    except (ServerFailed, AssertionError) as error:
        return {"error": str(error).splitlines()[0][:200]}
    prefetched = status.get("prefetch") or {}
    return {
        "total_s": total_s,
        "load_s": sum(load["seconds"] for load in status["loads"]),
        "bucket_gb": status["totals"]["bytes_streamed"] / 1e9,
        "size_bytes": size_bytes,
        "transfer_s": 8 * size_bytes / 1e6 / rate_mbit,
        "sources": [load["source"] for load in status["loads"]],
        **{name: prefetched.get(name) for name in ("useful", "late", "wasted")},
    }


def image(checkpoint_name: str, seed: int) -> Any:
    from tests.rig.workflows import text_to_image

    return text_to_image(checkpoint_name, size=256, steps=STEPS, seed=seed)


def warm_up(comfy: Any) -> None:
    """The first image of a process pays for what torch makes on first use; it loads no model of the bucket."""
    from tests.rig.workflows import node

    pause = threading.Event()
    while not all(origin["listed_s"] for origin in comfy.get("/modelstream/status")["origins"]):
        pause.wait(0.05)
    graph = {"1": node("EmptyImage", width=64, height=64, batch_size=1, color=0), "2": node("PreviewImage", images=["1", 0])}
    comfy.prompt(graph).expect()


def settle(comfy: Any) -> None:
    pause = threading.Event()
    for _ in range(600):
        status = comfy.get("/modelstream/status")
        if not status["transfers"] and not status["tiers"]["loading"] and not status["tiers"]["ssd"]["reserved_bytes"]:
            return
        pause.wait(0.1)


def event_loop() -> Row:
    """Of a prompt with 200 nodes: what ``put`` takes longer with our wrapper around it (on the event loop), and what
    look-ahead's own thread takes to read it."""
    import heapq
    import sys
    from types import ModuleType

    from modelstream.hooks.lookahead_order import NodeShape
    from modelstream.hooks.lookahead_prompt import model_refs
    from modelstream.hooks.queue_seam import QueueSeam

    prompt = {
        str(n): {
            "class_type": "Lora",
            "inputs": {"lora_name": f"{n}.safetensors", "model": [str(n - 1), 0] if n else 0, "text": "a cat " * 50},
        }
        for n in range(NODES)
    }
    shape = NodeShape({"lora_name": "loras"})
    began_s = time.perf_counter()
    refs = model_refs(prompt, [str(NODES - 1)], lambda _: shape)
    thread_ms = (time.perf_counter() - began_s) * 1e3
    assert len(refs) == NODES

    class PromptQueue:
        queue: list[Any] = []  # noqa: RUF012

        def put(self, item: Any) -> None:
            heapq.heappush(self.queue, item)

        def get(self, timeout: float | None = None) -> None: ...
        def wipe_queue(self) -> None: ...
        def delete_queue_item(self, function: Any) -> None: ...
        def task_done(self, item_id: Any, history_result: Any, status: Any, process_item: Any = None) -> None: ...
        def get_current_queue_volatile(self) -> None: ...

    module = ModuleType("execution")
    module.PromptQueue = PromptQueue  # type: ignore[attr-defined]
    before, sys.modules["execution"] = sys.modules.get("execution"), module
    try:
        condition = threading.Condition()

        def poke() -> None:
            with condition:
                condition.notify_all()

        seam = QueueSeam(poke)
        seam.wrap_all()
        times = []
        for number in range(1000):
            began_s = time.perf_counter()
            PromptQueue().put((number, str(number), prompt, {}, [str(NODES - 1)], {}))
            times.append(time.perf_counter() - began_s)
        seam.take_off()
    finally:
        if before is None:
            del sys.modules["execution"]
        else:
            sys.modules["execution"] = before
    return {"loop_ms": max(times) * 1e3, "thread_ms": thread_ms}


def checks(rows: list[Row]) -> list[Check]:
    def of(setting: str, name: str) -> float | None:
        return median([row for row in rows if row["setting"] == setting], name)

    without, ahead, there = (of(setting, "total_s") for setting in SETTINGS)
    transfer_s = of("with", "transfer_s")
    share = None
    if None not in (without, ahead, there, transfer_s):
        assert without is not None and ahead is not None and there is not None and transfer_s is not None
        rest_s = transfer_s * (len(NAMES) - 1)
        computing_s = there * (len(SEQUENCE) - 1) / len(SEQUENCE)
        ideal_s = there + transfer_s + max(0.0, rest_s - computing_s)
        share = (without - ahead) / (without - ideal_s) if without > ideal_s else None
    return [
        at_least("share of what can be hidden that is hidden", share, 0.85),
        at_most("wasted fetches", of("with", "wasted"), 0),
        at_most("event loop, a prompt of 200 nodes, ms", of(f"{NODES} nodes", "loop_ms"), 5),
    ]
