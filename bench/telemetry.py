"""``bench telemetry``: what watching costs: on a load, while idle, while a panel is open, and with 10,000 models.

The real ComfyUI with a real bucket.  A custom node of the benchmark's own takes the time that the bus's subscribers and
telemetry's threads use (their CPU, from the kernel) while loads run; idle CPU is the whole process's, from
/proc/PID/task/*/schedstat, in nanoseconds, against the same ComfyUI without the extension.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .lister import BUCKET, CONFIG, lister
from .objects import Bucket, synthetic
from .processes import CLIENT_CORE, ROOT, SERVER_CORE, pinned
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("load share", "load_share_percent", ".3f"),
    Column("ms prompt", "prompt_ms", ".2f"),
    Column("us event", "event_us", ".0f"),
    Column("CPU idle", "idle_percent", ".3f"),
    Column("panel", "open_percent", ".3f"),
    Column("status", "status_ms", ".1f"),
    Column("models", "models_ms", ".1f"),
    Column("tick", "tick_bytes", ".0f"),
)
MODELS = 10_000
LOADS = 3
IDLE_S = 40.0
SETTLE_S = 12.0
ASKED = 20
TOKEN = "X-Model-Stream-Token"

NODE = '''
import threading, time
from aiohttp import web
from server import PromptServer

spent = {"events_s": 0.0, "events": 0, "requests_s": 0.0, "requests": 0, "load_s": 0.0}
lock = threading.Lock()

def watch():
    from modelstream.storage.events import EventBus
    emit = EventBus.emit
    def timed(self, event):
        start = time.thread_time()
        try:
            return emit(self, event)
        finally:
            which = "requests" if type(event).__name__ == "HttpRequest" else "events"
            with lock:
                spent[which + "_s"] += time.thread_time() - start
                spent[which] += 1
    EventBus.emit = timed

def thread_cpu():
    """CPU of telemetry's own threads so far."""
    found = 0.0
    for thread in threading.enumerate():
        if thread.name in ("modelstream-telemetry", "modelstream-panel", "modelstream-webhook"):
            try:
                found += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            except OSError:
                pass
    return found

@PromptServer.instance.routes.post("/bench/spent")
async def show(_):
    with lock:
        return web.json_response({**spent, "threads_s": thread_cpu()})

class Loads:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {})}}
    RETURN_TYPES = ()
    FUNCTION = "load"
    OUTPUT_NODE = True
    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")
    def load(self, name):
        import comfy.utils, folder_paths
        start = time.perf_counter()
        tensors = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("checkpoints", name))
        spent["load_s"] += time.perf_counter() - start
        return {"ui": {"tensors": [len(tensors)]}}

watch()
NODE_CLASS_MAPPINGS = {"BenchLoads": Loads}
'''


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    for repetition in range(repetitions or (1 if quick else 3)):
        for setting in ("absent", "present"):
            row: Row = {"situation": "server", "client": "Model Stream", "setting": setting, "repetition": repetition}
            report.add({**row, **(with_extension(quick=quick) if setting == "present" else without(quick=quick))})
    return report.finish(checks(report.rows))


def checks(rows: list[Row]) -> list[Check]:
    def of(setting: str, name: str) -> float | None:
        return median([row for row in rows if row["setting"] == setting], name)

    def more(one: str, other: str) -> float | None:
        first, second = of("present", one), of("absent" if other == "idle" else "present", "idle_percent")
        return None if first is None or second is None else max(0.0, first - second)

    return [
        at_most("telemetry's share of loads of 1 GB from the bucket, %", of("present", "load_share_percent"), 1.0),
        at_most("idle with the panel closed, % of a core above ComfyUI alone", more("idle_percent", "idle"), 0.1),
        at_most("idle with the panel open, % of a core above the panel closed", more("open_percent", "closed"), 2.0),
        at_most("status with 10,000 models, ms", of("present", "status_ms"), 50),
        at_most("a page of 10,000 models, ms", of("present", "models_ms"), 50),
        at_most("the largest tick, bytes", of("present", "tick_bytes"), 8192),
    ]


def without(*, quick: bool) -> dict[str, Any]:
    from tests.rig.comfy import ComfyServer

    with ComfyServer(folder_name=None, prefix=pinned(CLIENT_CORE)) as comfy:
        return {"idle_percent": idle_percent(comfy, quick=quick)}


def with_extension(*, quick: bool) -> dict[str, Any]:
    """One server, everything."""
    from tests.rig.comfy import ComfyServer
    from tests.rig.seaweed import Seaweed

    size_mb = 50 if quick else 1000
    path = synthetic(ROOT / ".venv" / "models" / "bench" / f"telemetry{size_mb}.safetensors", size_mb * 10**6, seed=5)
    with ExitStack() as opened:
        base = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="modelstream-bench-")))
        large = opened.enter_context(lister(MODELS, prefix=pinned(SERVER_CORE)))
        server = opened.enter_context(Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE)))
        for number in range(LOADS):
            Bucket(server).put(f"checkpoints/bench-{number}.safetensors", different(base, path, number))
        keys = {"access_key": server.access_key, "secret_key": server.secret_key, "bucket": server.bucket}
        node = base / "custom_nodes" / "bench_telemetry.py"
        node.parent.mkdir(parents=True)
        node.write_text(NODE)
        config = CONFIG.format(large=large, near=server.endpoint, large_bucket=BUCKET, **keys) + "[ssd]\nfree_floor_gb = 0.1\n"
        with ComfyServer(config=config, base=base, prefix=pinned(CLIENT_CORE)) as comfy:
            wait_listed(comfy)
            found: dict[str, Any] = {**load_cost(comfy), **routes(comfy)}
            found["idle_percent"] = idle_percent(comfy, quick=quick)
            found["open_percent"], found["tick_bytes"] = panel_open(comfy, found.pop("token"), quick=quick)
            return found


def load_cost(comfy: Any) -> dict[str, float]:
    """CPU of the subscribers and of telemetry's threads while prompts load: as a share of loads from the bucket, and in
    milliseconds a prompt that finds its model in memory, which is what it costs at least.

    Requests are not counted: this client asks fifty times a second whether a prompt is done, which no browser does.
    """
    before = comfy.post("/bench/spent")
    _load(comfy)
    streamed = comfy.post("/bench/spent")
    _load(comfy)
    _load(comfy)
    again = comfy.post("/bench/spent")
    return {
        "load_share_percent": 100 * _spent_s(before, streamed) / (streamed["load_s"] - before["load_s"]),
        "prompt_ms": 1e3 * _spent_s(streamed, again) / (2 * LOADS),
        "event_us": 1e6 * (again["events_s"] - before["events_s"]) / (again["events"] - before["events"]),
        "request_us": 1e6 * (again["requests_s"] - before["requests_s"]) / (again["requests"] - before["requests"]),
    }


def _load(comfy: Any) -> None:
    for number in range(LOADS):
        comfy.prompt({"1": {"class_type": "BenchLoads", "inputs": {"name": f"bench-{number}.safetensors"}}}).expect()


def _spent_s(before: dict[str, float], after: dict[str, float]) -> float:
    return sum(after[name] - before[name] for name in ("events_s", "threads_s"))


def different(folder: Path, path: Path, number: int) -> Path:
    """The same model with another last byte: equal bytes would be fetched once."""
    copy = folder / f"copy-{number}.safetensors"
    shutil.copyfile(path, copy)
    with open(copy, "r+b") as file:
        file.seek(-1, 2)
        file.write(bytes([number + 1]))
    return copy


def routes(comfy: Any) -> dict[str, Any]:
    """Medians as a client sees them; the models table is asked unsorted and by its dearest column."""
    token = comfy.get("/modelstream/token")["token"]
    times: dict[str, list[float]] = {"status_ms": [], "models_ms": []}
    assert comfy.get("/modelstream/models")["total"] >= MODELS
    for number in range(ASKED):
        start = time.perf_counter()
        comfy.get("/modelstream/status")
        times["status_ms"].append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        comfy.get("/modelstream/models", sort=("last_used_s", "name", "size_bytes")[number % 3], order="desc", limit="100")
        times["models_ms"].append((time.perf_counter() - start) * 1e3)
    return {"token": token, **{name: statistics.median(values) for name, values in times.items()}}


def panel_open(comfy: Any, token: str, *, quick: bool) -> tuple[float, int]:
    """(CPU in percent of a core, the largest tick); the panel renews itself as the real one does."""
    stop = threading.Event()

    def renew() -> None:
        body = {"client_id": comfy.client_id, "open": True}
        while True:
            answer = comfy.request("POST", "/modelstream/panel", body, {TOKEN: token})
            assert answer.status == 200, answer.body
            if stop.wait(10.0):
                return

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        percent = idle_percent(comfy, quick=quick)
    finally:
        stop.set()
        thread.join()
    ticks = [told.values for told in comfy.listener.all("modelstream")]
    assert len(ticks) > 3, "no ticks came"
    return percent, max(len(json.dumps(tick)) for tick in ticks)


def idle_percent(comfy: Any, *, quick: bool) -> float:
    pause = threading.Event()
    pause.wait(3.0 if quick else SETTLE_S)
    seconds = 10.0 if quick else IDLE_S
    before, start = cpu_ns(comfy.pid), time.perf_counter()
    pause.wait(seconds)
    return (cpu_ns(comfy.pid) - before) / 1e9 / (time.perf_counter() - start) * 100


def cpu_ns(pid: int) -> int:
    """Of all threads that live; one that has ended is not in it, and nothing starts or ends while a process is idle."""
    return sum(int(Path(f"{task}/schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def wait_listed(comfy: Any) -> None:
    pause = threading.Event()
    for _ in range(600):
        status = comfy.get("/modelstream/status")
        if all(o["listed_s"] and not o["refreshing"] for o in status["origins"]) and status["tiers"]:
            return
        pause.wait(0.2)
    raise TimeoutError("the buckets were not listed")
