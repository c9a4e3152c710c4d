"""How long ComfyUI's event loop is held up while a catalog of 100,000 objects is listed and a model streams.

A custom node of the benchmark's own, in the real server, times every callback that the loop runs, and a heartbeat that
should come every 5 ms.  A callback's time holds everything that keeps it from ending, waits for the interpreter's lock
and for a core included.  Only garbage collections that others start are taken out and shown by themselves: ComfyUI
starts one after a prompt, and that stops every thread for as long as all of ComfyUI's objects take.

For comparison the same is measured in a ComfyUI without the extension that loads the same file from its own folder.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .lister import BUCKET as LARGE_BUCKET
from .lister import CONFIG, lister
from .objects import Bucket, synthetic
from .processes import ROOT, SERVER_CORE, pinned

OBJECTS = 100_000
OBJECT_MB = 500
OURS = " (ours)"
LIMIT_S = 120.0
QUIET_S = 2.0

NODE = '''
import asyncio, gc, json, sys, threading, time
from aiohttp import web
from server import PromptServer

seen = {"callbacks": [], "late": [], "gc": []}
run = asyncio.events.Handle._run

LOOP_THREAD = threading.get_ident()
started = [0.0]
OURS = " (ours)"

def on_gc(phase, info):
    """A collection stops every thread, whoever starts it."""
    end = time.perf_counter()
    if phase == "start":
        started[0] = end
    elif end - started[0] > 0.001:
        frame = sys._getframe().f_back
        thread = threading.current_thread().name
        ours = thread.startswith("modelstream") or "/model-stream/" in (frame.f_code.co_filename if frame else "")
        where = f"{place(frame) if frame else '?'} in {thread}{OURS if ours else ''}"
        seen["gc"].append((started[0], end, f"generation {info['generation']}, {where}"))

gc.callbacks.append(on_gc)
now = {"since": None, "stack": ""}

def timed(self):
    if threading.get_ident() != LOOP_THREAD:  # a prompt runs in a loop of its own, in another thread
        return run(self)
    now["stack"] = ""
    computed = time.thread_time()
    start = now["since"] = time.perf_counter()
    try:
        return run(self)
    finally:
        now["since"] = None
        end = time.perf_counter()
        if end - start > 0.002:
            computed = f"{(time.thread_time() - computed) * 1e3:.1f} ms computed: "
            seen["callbacks"].append((start, end, computed + (now["stack"] or name_of(self))))

def name_of(handle):
    tasks = [t for t in gc.get_referents(handle._callback) if isinstance(t, asyncio.Task)]
    return repr(tasks[0].get_coro() if tasks else handle)[:300]

asyncio.events.Handle._run = timed

def watch():
    """Where the loop's thread is when a callback takes long."""
    while True:
        time.sleep(0.01)
        since = now["since"]
        if since is not None and time.perf_counter() - since > 0.015 and not now["stack"]:
            frame, places = sys._current_frames().get(LOOP_THREAD), []
            while frame is not None and len(places) < 14:
                places.append(place(frame))
                frame = frame.f_back
            now["stack"] = " < ".join(places)

def place(frame):
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno} {frame.f_code.co_name}"

threading.Thread(target=watch, daemon=True).start()

async def beat():
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.005)
        seen["late"].append(time.perf_counter() - start - 0.005)

@PromptServer.instance.routes.post("/bench/heartbeat")
async def heartbeat(_):
    answer = {name: list(values) for name, values in seen.items()}
    for values in seen.values():
        values.clear()
    return web.json_response(answer)

PromptServer.instance.loop.create_task(beat())
NODE_CLASS_MAPPINGS = {}

class UsesUp:
    """An output node that takes a VAE-less state dict and does nothing with it."""
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {})}}
    RETURN_TYPES = ()
    FUNCTION = "load"
    OUTPUT_NODE = True
    def load(self, name):
        import comfy.utils, folder_paths
        tensors = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("checkpoints", name))
        return {"ui": {"tensors": [len(tensors)]}}

NODE_CLASS_MAPPINGS["BenchUsesUp"] = UsesUp
'''


def event_loop_row(*, quick: bool, plain: bool = False) -> dict[str, Any]:
    """One run on the real server; plain: without the extension.  Everything that goes wrong is an answer with "error"."""
    from tests.rig.comfy import ComfyServer, Refused
    from tests.rig.processes import ServerFailed
    from tests.rig.seaweed import Seaweed

    size_mb = 100 if quick else OBJECT_MB
    path = synthetic(ROOT / ".venv" / "models" / "bench" / f"loop{size_mb}.safetensors", size_mb * 10**6, seed=2)
    with ExitStack() as opened:
        base = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="modelstream-bench-")))
        node = base / "custom_nodes" / "bench_heartbeat.py"
        node.parent.mkdir(parents=True)
        node.write_text(NODE)
        if plain:
            (base / "models" / "checkpoints").mkdir(parents=True)
            (base / "models" / "checkpoints" / path.name).symlink_to(path)
            server = ComfyServer(folder_name=None, base=base)
        else:
            large = opened.enter_context(lister(OBJECTS, prefix=pinned(SERVER_CORE)))
            near = opened.enter_context(Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE)))
            Bucket(near).put(f"checkpoints/{path.name}", path)
            keys = {"access_key": near.access_key, "secret_key": near.secret_key, "bucket": near.bucket}
            server = ComfyServer(config=CONFIG.format(large=large, near=near.endpoint, large_bucket=LARGE_BUCKET, **keys), base=base)
        try:
            with server as comfy:
                return _watched(comfy, path.name, plain=plain)
        except (ServerFailed, Refused, AssertionError, TimeoutError) as error:
            return {"error": str(error).splitlines()[0]}


def _watched(comfy: Any, name: str, *, plain: bool) -> dict[str, Any]:
    pause = threading.Event()
    if not plain:
        _wait_listed(comfy, pause)
    pause.wait(QUIET_S)
    comfy.post("/bench/heartbeat")
    pause.wait(QUIET_S)
    idle = figures(comfy.post("/bench/heartbeat"))
    if not plain:
        _refresh(comfy)
    comfy.prompt({"1": {"class_type": "BenchUsesUp", "inputs": {"name": name}}}).expect()
    if not plain:
        _wait_listed(comfy, pause)
    busy = comfy.post("/bench/heartbeat")
    slow, collections = longest_first(without(busy["callbacks"], busy["gc"])), longest_first(busy["gc"])
    return {**figures(busy), "idle": idle, "slowest_callbacks": slow[:5], "slowest_collections": collections[:5]}


Span = tuple[float, float, str]
"""start and end on one clock, and what it was"""


def without(callbacks: list[Span], collections: list[Span]) -> list[Span]:
    """The callbacks, each shorter by the collections of others that happened in it."""
    collections = [span for span in collections if not span[2].endswith(OURS)]
    found = []
    for start, end, what in callbacks:
        lost = sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop, _ in collections)
        found.append((start, end - lost, what))
    return found


def longest_first(spans: list[Span]) -> list[tuple[float, str]]:
    """In milliseconds."""
    return [(round((end - start) * 1e3, 1), what) for start, end, what in sorted(spans, key=lambda s: s[0] - s[1])]


def figures(answer: dict[str, Any]) -> dict[str, float]:
    late = sorted(answer["late"]) or [0.0]
    longest = max((end - start for start, end, _ in without(answer["callbacks"], answer["gc"])), default=0.0)
    collection = max((end - start for start, end, _ in answer["gc"]), default=0.0)
    ours = max((end - start for start, end, what in answer["gc"] if what.endswith(OURS)), default=0.0)
    found = {
        "longest_callback": longest,
        "longest_gc": collection,
        "longest_gc_of_ours": ours,
        "late_p99": late[int(len(late) * 0.99)],
        "late_max": late[-1],
    }
    return {f"{name}_ms": seconds * 1e3 for name, seconds in found.items()}


def _refresh(comfy: Any) -> None:
    prefix = "/modelstream"
    token = comfy.get(f"{prefix}/token")["token"]
    answer = comfy.request("POST", f"{prefix}/refresh", {}, {"X-Model-Stream-Token": token})
    assert answer.status == 202, f"the refresh was refused: {answer.status}"


def _wait_listed(comfy: Any, pause: threading.Event) -> None:
    for _ in range(int(LIMIT_S / 0.2)):
        origins = comfy.get("/modelstream/status")["origins"]
        if all(not origin["refreshing"] and origin["objects"] for origin in origins):
            return
        pause.wait(0.2)
    raise TimeoutError("the catalog was not listed in time")
