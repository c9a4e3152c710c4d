"""``bench import``: what the extension costs ComfyUI's start, and whether it ever holds up the event loop.

Cost is CPU of all threads, of running prestartup_script.py and __init__.py in a process that has imported everything
ComfyUI imports anyway, until nothing goes on in the background any more; with bytecode, which ComfyUI's first start
leaves behind and a fresh check-out lacks.  The whole server's difference is measured too,
for orientation: it is the difference of two large, noisy numbers.
"""

from __future__ import annotations

import compileall
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .heartbeat import event_loop_row
from .lister import BUCKET, lister
from .listing import CONFIG
from .processes import CLIENT_CORE, ROOT, SERVER_CORE, cpu_seconds_of, pinned, run_module
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("at once", "at_once_ms", ".0f"),
    Column("all CPU", "cpu_ms", ".0f"),
    Column("modules", "modules", ".0f"),
    Column("server s", "server_cpu_s"),
    Column("longest", "longest_callback_ms", ".1f"),
    Column("our gc", "longest_gc_of_ours_ms", ".1f"),
    Column("late p99", "late_p99_ms", ".1f"),
    Column("late max", "late_max_ms", ".1f"),
)
REPETITIONS = 5
LISTS_AND_STREAMS = "list 100,000, stream"
ROOMS = ("storage", "cache", "hooks", "telemetry", "nodes")
OBJECTS = 100
"""of the bucket that is listed at the start: one page"""
SETTLE_LIMIT_S = 30.0


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    count = repetitions or (1 if quick else REPETITIONS)
    write_bytecode()
    with lister(OBJECTS, prefix=pinned(SERVER_CORE)) as endpoint:
        for repetition in range(count):
            for setting, config in (("not configured", ""), ("configured", CONFIG.format(endpoint=endpoint, bucket=BUCKET))):
                report.add({**row_of("process", setting, repetition), **in_process(config)})
        for repetition in range(min(count, 3)):
            for setting, config in (
                ("absent", None),
                ("not configured", ""),
                ("configured", CONFIG.format(endpoint=endpoint, bucket=BUCKET)),
            ):
                report.add({**row_of("server", setting, repetition), **whole_server(setting, config)})
    for repetition in range(count):
        report.add({**row_of("event loop", LISTS_AND_STREAMS, repetition), **event_loop_row(quick=quick)})
        report.add({**row_of("event loop", "plain, local file", repetition), **event_loop_row(quick=quick, plain=True)})
    return report.finish(checks(report.rows))


def row_of(situation: str, setting: str, repetition: int) -> Row:
    return {"situation": situation, "client": "Model Stream", "setting": setting, "repetition": repetition}


def checks(rows: list[Row]) -> list[Check]:
    def of(situation: str, setting: str, name: str) -> float | None:
        return median([r for r in rows if r["situation"] == situation and r["setting"] == setting], name)

    def worst(name: str) -> float | None:
        values = [row.get(name) for row in rows if row["situation"] == "event loop" and row["setting"] == LISTS_AND_STREAMS]
        return None if not values or None in values else max(v for v in values if v is not None)

    return [
        at_most("start without configuration, CPU ms", of("process", "not configured", "cpu_ms"), 150),
        at_most("start with configuration, CPU ms", of("process", "configured", "cpu_ms"), 400),
        at_most("longest callback on the event loop, ms", worst("longest_callback_ms"), 20),
        at_most("longest garbage collection that we start, ms", worst("longest_gc_of_ours_ms"), 20),
    ]


def write_bytecode() -> None:
    """The measured processes write none themselves, so without this a figure would depend on who ran what before."""
    for room in ROOMS:
        compileall.compile_dir(ROOT / room, quiet=1)
    for file in ("__init__.py", "prestartup_script.py"):
        compileall.compile_file(ROOT / file, quiet=1)


def in_process(config: str) -> dict[str, Any]:
    from tests.rig.checkpoints import comfyui_path

    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as base:
        job = {"comfyui": str(comfyui_path()), "base": base, "config": config}
        return run_module("bench.start", job, core=CLIENT_CORE)


def whole_server(setting: str, config: str | None) -> dict[str, Any]:
    """CPU of ComfyUI from its start until it answers and has been left alone for two seconds."""
    from tests.rig.comfy import ComfyServer
    from tests.rig.processes import ServerFailed

    folder_name = None if setting == "absent" else "model-stream"
    try:
        with ComfyServer(config=config or None, folder_name=folder_name, prefix=pinned(CLIENT_CORE)) as comfy:
            threading.Event().wait(2.0)
            return {"server_cpu_s": cpu_seconds_of(comfy.pid)}
    except ServerFailed as error:
        return {"error": str(error).splitlines()[0]}


# -- the measured process ------------------------------------------------------------------------------------------------
def child() -> None:
    job = json.load(sys.stdin)
    from .comfy_child import configure, enter, extension, prestartup

    base = Path(job["base"])
    configure(base, job["config"])
    enter(job["comfyui"], str(base))
    loop = import_what_comfyui_imports()
    before, modules = time.process_time(), set(sys.modules)
    prestartup()
    module = extension()
    loop.run_until_complete(module.comfy_entrypoint())
    at_once = time.process_time() - before
    settle(configured=bool(job["config"]))
    cpu = time.process_time() - before
    print(json.dumps({"at_once_ms": at_once * 1e3, "cpu_ms": cpu * 1e3, "modules": len(set(sys.modules) - modules)}), flush=True)


def import_what_comfyui_imports() -> Any:
    """As main.py does, up to where it loads custom nodes: with a server object, so that our routes are made too."""
    import asyncio
    from importlib import import_module

    # In main.py's order: its folder "utils" has to be found before torch's friends bring a module of that name.
    for name in ("utils.extra_config", "app.logger", "comfy.utils", "execution", "server", "nodes", "comfy_api.latest"):
        import_module(name)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server: Any = sys.modules["server"]
    server.PromptServer(loop)
    return loop


def settle(*, configured: bool) -> None:
    """Until the first listing is there and the cache is open."""
    if not configured:
        return
    from modelstream.hooks.boot import extension

    runtime = extension().runtime
    assert runtime is not None
    pause = threading.Event()
    for _ in range(int(SETTLE_LIMIT_S / 0.1)):
        listed = all(state.objects == OBJECTS and not state.refreshing for state in runtime.catalog.states())
        if listed and (runtime.opened is not None or runtime.failure is not None):
            pause.wait(0.2)  # the snapshot is written
            return
        pause.wait(0.1)
    raise TimeoutError("the first listing did not come")


if __name__ == "__main__":
    child()
