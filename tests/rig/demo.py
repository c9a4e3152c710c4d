"""The whole thing in one command: a bucket, the real ComfyUI with no models of its own, and an image.

    python dev.py demo [--size tiny|sd15] [--tour] [--check] [--no-browser]

Opens ComfyUI with the panel open and keeps running until Ctrl-C.  ``--tour`` walks through load, switch, evict and prefetch,
slowly enough to watch.  With ``--check`` it exits, and its last line is JSON:
{"ok": true, "image": PATH, "bytes_streamed": N, "seconds_stream": S, "source": {OBJECT: {...}}}
and after a tour also "tour": {STEP: [SOURCE]}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .actions import change, is_idle, row_of, upload_variant, wait_until
from .checkpoints import ROOT, ModelSet, models
from .comfy import ComfyServer, Refused, Run
from .processes import ServerFailed
from .seaweed import Seaweed
from .tour import Step, Tour, rate_limit_mbit
from .workflows import load_only, text_to_image

FLATTEST_IMAGE = 1.0
"""standard deviation of the pixels below which an image shows nothing"""
TIMEOUT_S = 600.0
TOUR_PACE_S = 6.0
OPEN_PANEL = "model-stream=open"
"""the panel opens by itself when the page's address says so"""


class DemoFailed(Exception):
    """What was promised did not happen; shown as one line."""


@dataclass(frozen=True)
class Size:
    """A checkpoint (and the LoRA and VAE that go with it) and an image it can make in reasonable time on a CPU."""

    name: str
    latent: str
    side_px: int
    steps: int

    @property
    def file(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def others(self) -> tuple[str, str]:
        """Further models to switch between, made from the same file."""
        return f"{self.name}-portrait.safetensors", f"{self.name}-landscape.safetensors"

    @property
    def image(self) -> dict[str, Any]:
        return {"latent": self.latent, "size": self.side_px, "steps": self.steps}


SIZES = {"tiny": Size("tiny", "sd3", 256, 2), "sd15": Size("sd15", "sd", 128, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python dev.py demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="sd15", help="which checkpoint: 6 MB, or 2.13 GB (default)")
    parser.add_argument("--check", action="store_true", help="exit when the image is there; the last line is JSON")
    parser.add_argument("--tour", action="store_true", help="load, switch, evict and prefetch, one after the other, over a slow link")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off for what runs in its background
    try:
        with contextlib.ExitStack() as parts:
            report = run(parts, SIZES[asked.size], report_to_people=say, tour=asked.tour, slowly=not asked.check)
            if not asked.check:
                liven(report)
                look(report.server, open_browser=not asked.no_browser)
            if asked.tour:
                report = with_tour(report, SIZES[asked.size], pace_s=0 if asked.check else TOUR_PACE_S)
            if not asked.check:
                stay(report.server)
                return 0
    except KeyboardInterrupt:
        say("\nstopped")
        return 130
    except (DemoFailed, ServerFailed, Refused) as failure:
        say(f"\nThe demo failed: {failure}")
        if asked.check:
            say(json.dumps({"ok": False, "error": str(failure).splitlines()[0]}))
        return 1
    say(json.dumps(report.as_json()))
    return 0


@dataclass(frozen=True)
class Report:
    server: ComfyServer
    image: Path
    loads: tuple[dict[str, Any], ...]
    """as GET /modelstream/status tells them, oldest first"""
    tour: tuple[Step, ...] = ()

    @property
    def bytes_streamed(self) -> int:
        return sum(load["wire_bytes"] for load in self.loads)

    @property
    def seconds_stream(self) -> float:
        return sum(load["seconds"] for load in self.loads if load["source"] == "bucket")

    def as_json(self) -> dict[str, Any]:
        kept = ("source", "size_bytes", "wire_bytes", "seconds")
        source = {f"{load['folder']}/{load['name']}": {name: load[name] for name in kept} for load in self.loads}
        figures = {"bytes_streamed": self.bytes_streamed, "seconds_stream": round(self.seconds_stream, 3)}
        tour = {"tour": {step.name: step.sources for step in self.tour}} if self.tour else {}
        return {"ok": True, "image": str(self.image), **figures, "source": source, **tour}


def run(parts: contextlib.ExitStack, size: Size, report_to_people: Any, *, tour: bool = False, slowly: bool = True) -> Report:
    """Everything up to the report.  ``parts`` ends what was started, whatever happens.  slowly: a tour is to be watched"""
    tell = report_to_people
    sets = [models(name) for name in telling(tell, "making", ("tiny",) if size.name == "tiny" else ("tiny", "sd15"))]
    tell("starting SeaweedFS, an S3 server, on this machine with keys made for this run")
    bucket = parts.enter_context(Seaweed(memory_limit_mib=None))
    s3 = bucket.client()
    for made in sets:
        made.upload(s3, bucket.bucket, said=tell)
    checkpoint = f"checkpoints/{size.file}"
    for number, other in enumerate(size.others if tour else ()):
        tell(f"uploading {other}, with other weights")
        upload_variant(s3, sets[-1].path(checkpoint), bucket.bucket, f"checkpoints/{other}", number)
    base = Path(tempfile.mkdtemp(prefix="modelstream-demo-"))
    parts.callback(shutil.rmtree, base, ignore_errors=True)
    more = f'[ssd]\ndirectory = "{(base / "ssd").as_posix()}"\nfree_floor_gb = 1\n'
    if tour and slowly:
        more += f"[transfer]\nrate_limit_mbit = {rate_limit_mbit(sets[-1].size_bytes(checkpoint))}\n"
    tell("starting ComfyUI with Model Stream and no models of its own")
    server = parts.enter_context(ComfyServer(config=bucket.config_toml(more=more), base=base))
    check_dropdown(server, size)
    tell(f"{size.file} is in CheckpointLoaderSimple's list, and in no folder of this ComfyUI")
    tell("queueing a workflow: checkpoint and LoRA from the bucket")
    run = make_image(server, size, tell)
    report = checked_report(server, run, size, sets[-1])
    for line in report_lines(report):
        tell(line)
    return report


def telling(tell: Any, verb: str, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        tell(f"{verb} the {name} models (random weights, from ComfyUI's own classes; kept for the next time)")
        yield name


def check_dropdown(server: ComfyServer, size: Size) -> None:
    """The catalog is listed in the background: it may take a moment, never more than this."""
    deadline, pause = time.monotonic() + 30, threading.Event()
    while size.file not in (offered := server.choices("CheckpointLoaderSimple", "ckpt_name")):
        if time.monotonic() > deadline:
            raise DemoFailed(f"{size.file} is not in CheckpointLoaderSimple's list: {offered}. {problem_of(server)}")
        pause.wait(0.2)
    local = [p for p in (server.base / "models").rglob("*") if p.suffix == ".safetensors"]
    if local:
        raise DemoFailed(f"ComfyUI has local models, so this would prove nothing: {[p.name for p in local]}")


def problem_of(server: ComfyServer) -> str:
    try:
        status = server.get("/modelstream/status")
    except Refused:
        return "Model Stream does not answer: is it installed?"
    return f"Model Stream says: {status.get('problem') or status.get('origins')}"


class Throttled:
    """Shows what nodes said: every result ("from the bucket"), and of the progress in between one line in two seconds."""

    def __init__(self, tell: Any) -> None:
        self._tell, self._seen, self._next_s = tell, 0, 0.0

    def tell(self, texts: list[str], *, finished: bool) -> None:
        for text in texts[self._seen :]:
            now = time.monotonic()
            if " from the " in text or now >= self._next_s or (finished and text is texts[-1]):
                self._tell(f"  node: {text}")
                self._next_s = now + 2
        self._seen = len(texts)


def make_image(server: ComfyServer, size: Size, tell: Any) -> Run:
    graph = text_to_image(size.file, lora=size.file, **size.image)
    shown = Throttled(tell)

    def watch() -> None:
        texts = server.listener.texts() if server.listener else []
        shown.tell(texts, finished=False)

    done = server.wait(server.submit(graph), TIMEOUT_S, watch)
    shown.tell(server.listener.texts() if server.listener else [], finished=True)
    if done.state != "success":
        raise DemoFailed(f"the workflow ended as {done.state}: {done.error.get('exception_message', '')}")
    if not (server.listener and server.listener.texts()):
        raise DemoFailed("the loader node showed no progress")
    return done


def checked_report(server: ComfyServer, done: Run, size: Size, uploaded: ModelSet) -> Report:
    loads = with_joined(server, tuple(load for load in server.get("/modelstream/status")["loads"] if load["prompt"] == done.prompt_id))
    image = kept_copy(done.images[0], size)
    check_image(image)
    check_streamed(loads, {key: uploaded.size_bytes(key) for key in (f"checkpoints/{size.file}", f"loras/{size.file}")})
    return Report(server, image, loads)


def with_joined(server: ComfyServer, loads: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """A load that the fetch ahead of its own prompt was faster than moved no bytes itself: they are those of that transfer."""
    events = server.get("/modelstream/events", limit="500")["events"]
    came = {event["subject"]: event["size_bytes"] for event in events if event["kind"] == "transfer" and event["reason"] == "finished"}
    ahead = [not one["wire_bytes"] and one["subject"] in came for one in loads]
    told = [
        {**one, "source": "bucket", "wire_bytes": came[one["subject"]]} if joined else one for one, joined in zip(loads, ahead, strict=True)
    ]
    return tuple(told)


def check_image(image: Path) -> None:
    spread = spread_of(image)
    if not spread > FLATTEST_IMAGE:
        raise DemoFailed(f"the image is one flat colour (standard deviation {spread:.2f})")


def check_streamed(loads: Sequence[Mapping[str, Any]], wanted: Mapping[str, int]) -> None:
    """Every object of ``wanted`` (folder/name → bytes) came over the wire, all of it."""
    came = {f"{load['folder']}/{load['name']}": load for load in loads}
    for key, size_bytes in wanted.items():
        if key not in came:
            raise DemoFailed(f"{key} was never loaded through Model Stream; loaded were: {', '.join(came) or 'none'}")
        if came[key]["source"] != "bucket" or came[key]["wire_bytes"] < size_bytes:
            raise DemoFailed(f"{key} did not stream: {came[key]['wire_bytes']} of {size_bytes} bytes, from the {came[key]['source']}")


def kept_copy(image: Path, size: Size) -> Path:
    kept = ROOT / ".venv" / "demo" / f"{size.name}.png"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(image, kept)
    return kept


def spread_of(image: Path) -> float:
    from PIL import Image, ImageStat

    with Image.open(image) as opened:
        return max(ImageStat.Stat(opened.convert("RGB")).stddev)


def report_lines(report: Report) -> Iterator[str]:
    yield ""
    yield f"{'what':<34}{'came from':<11}{'size':>12}{'over the wire':>15}{'seconds':>9}{'rate':>12}"
    for load in report.loads:
        rate = load["size_bytes"] / load["seconds"] / 1e6 if load["seconds"] else 0.0
        sizes = f"{in_units(load['size_bytes']):>12}{in_units(load['wire_bytes']):>15}"
        yield f"{load['folder'] + '/' + load['name']:<34}{load['source']:<11}{sizes}{load['seconds']:>9.2f}{rate:>7,.0f} MB/s"
    yield ""
    yield f"the image: {report.image}"


def in_units(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:,.1f} kB"


def liven(report: Report) -> None:
    """Something to see in every part of the panel: a pin, a hit, an eviction, a model fetched ahead; with small models, so in seconds."""
    server, small = report.server, next(iter(SIZES.values())).file
    loaded = report.loads[0]
    change(server, "pin", digests=[row_of(server, loaded["folder"], loaded["name"])["digest"]])
    lora = row_of(server, "loras", small)["digest"]

    def load(loader: str, **inputs: str) -> None:
        done = server.prompt(load_only(loader, **inputs), TIMEOUT_S)
        if done.state != "success":
            raise DemoFailed(f"loading {small} ended as {done.state}: {done.error.get('exception_message', '')}")

    def on_ssd() -> bool:
        return "ssd" in row_of(server, "loras", small)["tiers"]

    def fetched() -> None:
        change(server, "prefetch", digests=[lora], tier="ssd")
        wait_until(on_ssd, f"{small} is on the SSD")

    def evicted() -> bool:
        change(server, "evict", digests=[lora], tier="ssd")
        return not on_ssd()

    load("VAELoader", vae_name=small)
    load("UNETLoader", unet_name=small, weight_dtype="default")
    load("VAELoader", vae_name=small)  # out of a cache
    fetched()
    wait_until(evicted, f"{small} leaves the SSD", 30)
    fetched()
    wait_until(lambda: is_idle(server), "the transfers come to rest")


def with_tour(report: Report, size: Size, *, pace_s: float) -> Report:
    first, second = size.others
    steps = Tour(report.server, first, second, say, pace_s=pace_s, image=size.image).walk()
    say("\nThat was the tour.")
    return replace(report, tour=steps)


def look(server: ComfyServer, *, open_browser: bool) -> None:
    address = f"{server.url}/?{OPEN_PANEL}"
    say(f"\nComfyUI is at {address} with the bucket's models in its lists. Ctrl-C ends everything and removes it.")
    if open_browser:
        server.post("/settings/Comfy.TutorialCompleted", True)  # no dialog over the first look
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)


def stay(server: ComfyServer) -> None:
    pause = threading.Event()
    while not pause.wait(0.5):
        if not server.running:
            raise ServerFailed("ComfyUI ended by itself\n" + "\n".join(server.log().splitlines()[-30:]))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
