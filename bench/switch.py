"""``bench switch``: a user who goes back and forth between three checkpoints, in the real ComfyUI: A B A C B A.

Loading time is the time of a prompt that does nothing but load and have a schedule computed.  (Showing the model itself by
PreviewAny would keep it alive: json's encoder leaves what it could not encode in a reference cycle.)  Stock ComfyUI gets each
file from the bucket when it is first wanted (boto3's ``download_file``, shown by itself) and has it on its disk and in its
page cache from then on.
``pool``: with room for all; ``tight``: RAM for one and a half models, SSD for three.  Between two loads ours is left alone
until nothing is on its way to the SSD any more, as while an image is made.
``stock tight``: stock with no more memory than ``tight`` has, page cache included: both run in a memory cgroup of one and a half
models and what ComfyUI takes without one; its files are on its disk and not in memory.  Where no cgroup can be made it is left out.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .objects import into_page_cache, out_of_page_cache
from .processes import CLIENT_CORE, SERVER_CORE, pinned
from .report import Check, Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("first A", "load_0_s"),
    Column("first B", "load_1_s"),
    Column("A again", "load_2_s", ".3f"),
    Column("first C", "load_3_s"),
    Column("B again", "load_4_s", ".3f"),
    Column("A again", "load_5_s", ".3f"),
    Column("loads s", "loads_s"),
    Column("total s", "total_s"),
    Column("download", "download_s"),
    Column("objects", "bucket_objects"),
)
SEQUENCE = "ABACBA"
RETURNS = (2, 4, 5)
REPETITIONS = 3
SETTLE_LIMIT_S = 60.0
ROOM = {"pool": (4.0, 4.0), "tight": (1.5, 3.2)}
"""RAM and SSD, in models"""
TIGHT = ("stock tight", "tight")
SETTINGS = ("stock", "pool", *TIGHT)
WITHOUT_MODEL_BYTES = 1500 << 20
"""of a ComfyUI on the CPU: 1.0 GB resident before its first load, and what it makes on the way to a model"""


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.seaweed import Seaweed

    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as scratch, Seaweed(prefix=pinned(SERVER_CORE)) as server:
        files = three_checkpoints(Path(scratch), quick=quick)
        client = server.client()
        for name, path in files.items():
            client.upload_file(str(path), server.bucket, f"checkpoints/{name}.safetensors", ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"})
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for setting in SETTINGS:
                row = {"situation": "switch", "client": "stock" if _is_stock(setting) else "Model Stream", "setting": setting}
                report.add({**row, "repetition": repetition, **one_run(setting, files, server)})
    return report.finish(checks(report.rows))


def three_checkpoints(folder: Path, *, quick: bool) -> dict[str, Path]:
    """Of one size, with different bytes: nobody may keep them once under three names."""
    from tests.rig.checkpoints import models

    made = models("tiny", depth=4) if quick else models("sd15")
    source = made.path(next(key for key in made if key.startswith("checkpoints/")))
    files = {name: folder / f"{name}.safetensors" for name in "ABC"}
    for number, path in enumerate(files.values()):
        shutil.copyfile(source, path)
        with path.open("r+b") as file:
            file.seek(-4, 2)
            file.write(bytes([number, 0, number, 0]))
    return files


def one_run(setting: str, files: dict[str, Path], server: Any) -> Row:
    from tests.rig.processes import ServerFailed

    try:
        with _comfyui(setting, files, server) as comfy:
            seconds = []
            for name in SEQUENCE:
                seconds.append(_load_seconds(comfy, name))
                if not _is_stock(setting):
                    _settle(comfy)
            row: Row = {f"load_{number}_s": value for number, value in enumerate(seconds)}
            row["loads_s"] = row["total_s"] = sum(seconds)
            if _is_stock(setting):
                row["download_s"] = _download_seconds(files, server)
                row["total_s"] += row["download_s"]
            else:
                status = comfy.get("/modelstream/status")
                row["bucket_objects"] = status["totals"]["bytes_streamed"] / next(iter(files.values())).stat().st_size
                row["warm_hits"] = status["memory"]["warm"]["hits"]
            return row
    except (ServerFailed, AssertionError, OSError) as error:
        return {"error": str(error).splitlines()[0][:200]}


@contextlib.contextmanager
def _comfyui(setting: str, files: dict[str, Path], server: Any) -> Iterator[Any]:
    from tests.rig.comfy import ComfyServer

    size_bytes = next(iter(files.values())).stat().st_size
    args = ["--fp16-unet"]
    with _memory_of(setting, size_bytes) as limited:
        prefix = (*limited, *pinned(CLIENT_CORE))
        if _is_stock(setting):
            for path in files.values():
                (into_page_cache if setting == "stock" else out_of_page_cache)(path)
            local = {f"checkpoints/{name}.safetensors": path for name, path in files.items()}
            with ComfyServer(folder_name=None, models=local, args=args, prefix=prefix) as comfy:
                yield comfy
            return
        ram, ssd = (size_bytes / (1 << 30) * models for models in ROOM[setting])
        more = f"[ram]\nbudget_gb = {ram}\n[ssd]\nbudget_gb = {ssd}\nfree_floor_gb = 0.1\n[vram]\nkeep_free_gb = 0.1\n"
        with ComfyServer(config=server.config_toml(more=more), args=args, prefix=prefix) as comfy:
            yield comfy


def _is_stock(setting: str) -> bool:
    return setting.startswith("stock")


@contextlib.contextmanager
def _memory_of(setting: str, size_bytes: int) -> Iterator[tuple[str, ...]]:
    """The command prefix that puts ComfyUI under the setting's memory limit.  Raises OSError for stock where there can be none."""
    from tests.rig.memory_cgroup import MemoryCgroup

    if setting not in TIGHT:
        yield ()
        return
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(MemoryCgroup(int(ROOM["tight"][0] * size_bytes) + WITHOUT_MODEL_BYTES))
        except OSError:
            if _is_stock(setting):
                raise
            yield ()
            return
        yield ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group.directory))


def _load_seconds(comfy: Any, name: str) -> float:
    """As ComfyUI's own messages say, to the millisecond."""
    from tests.rig.workflows import node

    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors"),
        "2": node("BasicScheduler", model=["1", 0], scheduler="normal", steps=1, denoise=1.0),
        "3": node("PreviewAny", source=["2", 0]),
    }
    run = comfy.prompt(graph).expect()
    at_ms = {kind: values["timestamp"] for kind, values in run.messages if "timestamp" in values}
    return max(1, at_ms["execution_success"] - at_ms["execution_start"]) / 1e3


def _settle(comfy: Any) -> None:
    pause = threading.Event()
    for _ in range(int(SETTLE_LIMIT_S / 0.1)):
        status = comfy.get("/modelstream/status")
        if not status["transfers"] and not status["tiers"]["loading"] and not status["tiers"]["ssd"]["reserved_bytes"]:
            return
        pause.wait(0.1)


def _download_seconds(files: dict[str, Path], server: Any) -> float:
    """All three, one after the other, as stock ComfyUI's user has to."""
    client, start_s = server.client(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as folder:
        for name in files:
            client.download_file(server.bucket, f"checkpoints/{name}.safetensors", str(Path(folder) / name))
        return time.monotonic() - start_s


def checks(rows: list[Row]) -> list[Check]:
    def of(setting: str, name: str) -> float | None:
        return median([row for row in rows if row["setting"] == setting], name)

    def times_less(number: int) -> float | None:
        stock, ours = of("stock", f"load_{number}_s"), of("pool", f"load_{number}_s")
        return stock / ours if stock and ours else None

    factors = [times_less(number) for number in RETURNS]
    worst = None if None in factors else min(f for f in factors if f is not None)
    totals = of("stock", "total_s"), of("tight", "total_s")
    total = totals[1] / totals[0] if totals[0] and totals[1] else None
    streamed = [row.get("bucket_objects") for row in rows if not _is_stock(row["setting"])]
    limited = of("stock tight", "total_s"), of("tight", "total_s")
    same = limited[1] / limited[0] if limited[0] and limited[1] else None
    once = None if None in streamed or not streamed else max(abs(s - 3) for s in streamed if s is not None)
    return [
        at_least("loading time of stock / with the pool, worst return", worst, 10),
        at_most("sequence total, RAM for 1.5 models and SSD for 3 / stock with its downloads", total, 1.0),
        at_most("the same / stock with its downloads in the same memory", same, 1.0),
        at_most("objects read from the bucket, beside each once", once, 0.01),
    ]
