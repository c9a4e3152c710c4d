"""``bench boot``: from the start of ComfyUI's process to its first image, a 2 GB checkpoint behind 2 Gbit/s.

``boot fetch``     the checkpoint is in a warm set that streams while ComfyUI imports torch and itself
``no boot fetch``  it streams when the first prompt loads it
``no boot fetch, bytes elsewhere``  the same while another process, with memory of its own, receives the same bytes from the
                   same server at the same rate: what the server and the receiving cost the imports on these two cores by themselves
``downloaded``     a plain ComfyUI that has the file already, warm in the page cache; its download, at the link's full
                   rate, is added: the best that downloading first can be
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cold import CHEAP_SERVER_FLAGS
from .link import own_loopback
from .objects import into_page_cache
from .processes import ROOT, SERVER_CORE, pinned
from .report import Check, Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("ready s", "ready_s"),
    Column("prompt s", "prompt_s"),
    Column("image s", "image_s"),
)
RATE_MBIT = 2000
ELSEWHERE = "no boot fetch, bytes elsewhere"
SETTINGS = ("boot fetch", "no boot fetch", "downloaded")
REPETITIONS = 3
NAME = "first.safetensors"


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    from tests.rig.checkpoints import models
    from tests.rig.seaweed import Seaweed

    made = models("tiny", depth=8) if quick else models("sd15")
    path = made.path(next(key for key in made if key.startswith("checkpoints/")))
    rate_mbit = 160 if quick else RATE_MBIT
    report.note(own_loopback())
    seaweed = Seaweed(memory_limit_mib=None, prefix=pinned(SERVER_CORE), extra=CHEAP_SERVER_FLAGS)
    with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as scratch, seaweed as server:
        server.client().upload_file(str(path), server.bucket, f"checkpoints/{NAME}", ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"})
        manifest = Path(scratch) / "set.toml"
        manifest.write_text(f'[[models]]\nfolder = "checkpoints"\nname = "{NAME}"\n')
        transfer_s = 8 * path.stat().st_size / 1e6 / rate_mbit
        for repetition in range(repetitions or (1 if quick else REPETITIONS)):
            for setting in (*SETTINGS, ELSEWHERE):
                row: Row = {"situation": "boot", "client": "Model Stream", "setting": setting, "repetition": repetition}
                report.add({**row, "transfer_s": transfer_s, **one_run(setting, server, path, manifest, rate_mbit, quick=quick)})
    return report.finish(checks(report))


def one_run(setting: str, server: Any, path: Path, manifest: Path, rate_mbit: float, *, quick: bool) -> Row:
    from tests.rig.comfy import ComfyServer
    from tests.rig.processes import ServerFailed
    from tests.rig.workflows import text_to_image

    boot = f'[boot]\nmanifest = "{manifest}"\n' if setting == "boot fetch" else ""
    more = f"{boot}[transfer]\nrate_limit_mbit = {rate_mbit}\n[ram]\nbudget_gb = 4\n[ssd]\nfree_floor_gb = 0.1\n"
    args = ["--fp16-unet"]
    if setting == "downloaded":
        into_page_cache(path)
        comfy = ComfyServer(folder_name=None, models={f"checkpoints/{NAME}": path}, args=args)
    else:
        comfy = ComfyServer(config=server.config_toml(more=more), args=args)
    started_s = time.monotonic()
    try:
        with contextlib.ExitStack() as running:
            with received_elsewhere(server, rate_mbit) if setting == ELSEWHERE else contextlib.nullcontext():
                running.enter_context(comfy)
            ready_s = time.monotonic() - started_s
            if setting != "downloaded":
                wait_listed(comfy)
            asked_s = time.monotonic()
            comfy.prompt(text_to_image(NAME, latent="sd3" if quick else "sd", size=64, steps=1)).expect()
            image_s = time.monotonic() - started_s
            loads = [] if setting == "downloaded" else comfy.get("/modelstream/status")["loads"]
    except (ServerFailed, AssertionError) as error:
        return {"error": str(error).splitlines()[0][:200]}
    source = loads[0]["source"] if loads else "disk"
    return {"ready_s": ready_s, "prompt_s": image_s - (asked_s - started_s), "image_s": image_s, "source": source}


@contextlib.contextmanager
def received_elsewhere(server: Any, rate_mbit: float) -> Iterator[None]:
    key = {"Bucket": server.bucket, "Key": f"checkpoints/{NAME}"}
    url = server.client().generate_presigned_url("get_object", Params=key)
    process = subprocess.Popen([sys.executable, "-m", "bench.receiver", url, str(rate_mbit * 125_000)], cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_listed(comfy: Any) -> None:
    """A prompt is refused before its model's name is known; with a bucket of one object that is at once."""
    pause = threading.Event()
    while not all(origin["objects"] for origin in comfy.get("/modelstream/status")["origins"]):
        pause.wait(0.02)


def checks(report: Report) -> list[Check]:
    rows = report.rows

    def of(setting: str, name: str) -> float | None:
        return median([row for row in rows if row["setting"] == setting], name)

    elsewhere = of(ELSEWHERE, "ready_s")
    fetched, late, plain = (of(setting, "image_s") for setting in SETTINGS)
    ready, plain_prompt, transfer_s = of("no boot fetch", "ready_s"), of("downloaded", "prompt_s"), of("downloaded", "transfer_s")
    share = slower = None
    if fetched and ready and plain_prompt and transfer_s:
        share = fetched / (max(ready, transfer_s) + plain_prompt)
    boot_ready = of("boot fetch", "ready_s")
    if boot_ready and ready:
        slower = boot_ready / ready
    before = (plain + transfer_s) / fetched if plain and transfer_s and fetched else None
    if elsewhere and ready and boot_ready:
        report.note(
            f"ready, bytes received by another process / without: {elsewhere / ready:.3f}; boot fetch / that: {boot_ready / elsewhere:.3f}"
        )
    return [
        at_most("start to first image / (max(import, transfer) + load + sampling)", share, 1.10),
        at_most("start until ready, with boot fetch / without", slower, 1.10),
        at_least("download, then start / boot fetch", before, 1.0),
        at_least("no boot fetch / boot fetch", late / fetched if late and fetched else None, 1.0),
    ]
