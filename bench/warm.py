"""``bench warm``: from RAM to a full state dict, and from RAM into ComfyUI's models, against stock ComfyUI with a hot page cache.

Every measured process is fresh.  The stock one reads the file once beforehand; ours streams the object into the RAM tier
beforehand, which its peak of memory includes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .processes import CLIENT_CORE, SERVER_CORE, pinned, run_module
from .report import Check, Column, Report, Row, at_most, median

COLUMNS = (
    Column("ms", "hit_ms", ".2f"),
    Column("tensors", "tensors", ".0f"),
    Column("load s", "load_s", ".3f"),
    Column("peak GB", "peak_gb"),
    Column("assigned", "assigned_gb"),
    Column("copied", "copied_gb"),
)
REPETITIONS = 5
SIZES_GB = (0.2, 2.0, 6.0)
LIMIT_S = 300.0
CLIENTS = ("stock", "Model Stream", "without hand-over")


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    count = repetitions or (1 if quick else REPETITIONS)
    for repetition in range(count):
        for size_gb in SIZES_GB:
            job = {"what": "hit", "size_bytes": int(size_gb * 1e9)}
            row = {"situation": "RAM hit", "client": "Model Stream", "setting": f"{size_gb:g} GB", "repetition": repetition}
            report.add({**row, **run_module("bench.warm", job, core=CLIENT_CORE)})
    _checkpoint_rows(report, count, quick=quick)
    return report.finish(checks(report.rows))


def _checkpoint_rows(report: Report, count: int, *, quick: bool) -> None:
    from tests.rig.checkpoints import comfyui_path, models
    from tests.rig.seaweed import Seaweed

    made = models("tiny", depth=4) if quick else models("sd15")
    key = next(key for key in made if key.startswith("checkpoints/"))
    with Seaweed(prefix=pinned(SERVER_CORE)) as server:
        server.client().upload_file(str(made.path(key)), server.bucket, "checkpoints/it.safetensors")
        for repetition in range(count):
            for client in CLIENTS:
                with tempfile.TemporaryDirectory(prefix="modelstream-bench-") as base:
                    job = {
                        "what": "checkpoint",
                        "client": client,
                        "comfyui": str(comfyui_path()),
                        "base": base,
                        "latent": 16 if quick else 4,
                    }
                    job |= {"file": str(made.path(key)), "config": "" if client == "stock" else _config(server, client)}
                    row = {"situation": "into models", "client": client, "setting": key, "repetition": repetition}
                    report.add({**row, **run_module("bench.warm", job, core=CLIENT_CORE)})


def _config(server: Any, client: str) -> str:
    hand_over = "true" if client == "Model Stream" else "false"
    more = f"[ram]\nbudget_gb = 3\nhand_over = {hand_over}\n[ssd]\nbudget_gb = 0\nfree_floor_gb = 0.1\n[vram]\nkeep_free_gb = 0.1\n"
    return str(server.config_toml(more=more))


def checks(rows: list[Row]) -> list[Check]:
    def of(client: str, name: str) -> float | None:
        return median([row for row in rows if row["situation"] == "into models" and row["client"] == client], name)

    def share(name: str) -> float | None:
        stock, ours = of("stock", name), of("Model Stream", name)
        return ours / stock if ours and stock else None

    def hit(size_gb: float) -> float | None:
        return median([row for row in rows if row["situation"] == "RAM hit" and row["setting"] == f"{size_gb:g} GB"], "hit_ms")

    pixels = {row.get("pixels") for row in rows if row["situation"] == "into models"}
    return [
        *(at_most(f"RAM hit to a full state dict, {size_gb:g} GB, ms", hit(size_gb), 20) for size_gb in SIZES_GB),
        at_most("checkpoint into ComfyUI's models from RAM / stock", share("load_s"), 0.35),
        at_most("peak resident memory / stock", share("peak_gb"), 0.75),
        Check("different images", float(len(pixels)), "== 1", len(pixels) == 1 and None not in pixels),
    ]


# -- the measured process ------------------------------------------------------------------------------------------------
def child() -> None:
    job = json.load(sys.stdin)
    answer = _hit(job["size_bytes"]) if job["what"] == "hit" else _checkpoint(job)
    print(json.dumps(answer), flush=True)


def _hit(size_bytes: int) -> Row:
    """The object's memory is reserved, not filled: a hit touches none of it."""
    import torch

    import modelstream.cache.store as store
    from modelstream.cache.arena import Arena
    from modelstream.cache.ram import RamTier
    from modelstream.storage.events import EventBus
    from modelstream.storage.objects import ObjectId, RemoteObject

    header, total_bytes = _header(size_bytes)
    bus: Any = EventBus()
    ram = RamTier(Arena(total_bytes + (64 << 20), bus), bus)
    obj = RemoteObject("bench", ObjectId("http://127.0.0.1:1", "bench", "checkpoints/it.safetensors", "1"), total_bytes, 0.0)
    ram.publish(obj, ram.reserve(obj, total_bytes), header, None).release()
    nobody: Any = None
    cache = store.Cache(nobody, nobody, nobody, nobody, ram, nobody, bus)
    torch.zeros(1)
    found = []
    for _ in range(10):
        start_s = time.perf_counter()
        with cache.open_tensors(obj) as opened:
            tensors = opened.state_dict()
        found.append((time.perf_counter() - start_s) * 1e3)
        assert opened.source == "ram"
    return {"hit_ms": sorted(found)[5], "tensors": len(tensors)}


def _header(size_bytes: int) -> tuple[Any, int]:
    """As many tensors as real models of this size have: SD1.5's shapes, again and again."""
    import math

    from modelstream.storage.safetensors_header import parse_header

    from .objects import _SHAPES

    described, at = {}, 0
    while at < size_bytes:
        shape = _SHAPES[len(described) % len(_SHAPES)]
        end = at + 2 * math.prod(shape)
        described[f"model.blocks.{len(described):05d}.weight"] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    front = len(text).to_bytes(8, "little") + text
    return parse_header(memoryview(front), len(front) + at), len(front) + at


def _checkpoint(job: Any) -> Row:
    from .comfy_child import configure, enter, extension, prestartup
    from .start import import_what_comfyui_imports

    base = Path(job["base"])
    configure(base, job["config"])
    enter(job["comfyui"], str(base))
    from comfy.cli_args import args

    args.fp16_unet = True
    path = job["file"]
    if job["config"]:
        prestartup()
    import_what_comfyui_imports()
    if job["config"]:
        extension()
        path = _into_ram()
    else:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
    return _measured(path, job["latent"])


def _into_ram() -> str:
    """The path of the bucket's object, once it is in the RAM tier."""
    from modelstream.hooks.boot import extension
    from modelstream.hooks.folders import view_of

    runtime = extension().runtime
    assert runtime is not None, extension().problem
    runtime.catalog.refresh(wait=True)
    obj = runtime.catalog.find(view_of("checkpoints"), "it.safetensors")
    assert obj is not None, "the bucket's object is not listed"
    cache = runtime.cache
    for _ in range(2):
        with cache.open_tensors(obj) as opened:
            source = opened.source
    assert source == "ram", source
    return cache.path_for(obj)


def _measured(path: str, channels: int) -> Row:
    import comfy.sd

    start_s = time.perf_counter()
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(path)
    seconds = time.perf_counter() - start_s
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    row: Row = {"load_s": seconds, "peak_gb": peak_gb, "pixels": _image(model, clip, vae, channels)}
    with contextlib.suppress(ImportError, KeyError):
        from modelstream.hooks.boot import extension

        runtime = extension().runtime
        if runtime is not None:
            figures: Any = runtime.status_blocks["memory"]()
            row |= {f"{name}_gb": figures["hand_over"][f"{name}_bytes"] / 1e9 for name in ("assigned", "copied")}
    return row


def _image(model: Any, clip: Any, vae: Any, channels: int) -> str:
    import comfy.sample
    import torch

    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    noise = torch.randn((1, channels, 8, 8), generator=torch.Generator().manual_seed(1))
    samples = comfy.sample.sample(
        model, noise, 1, 1.0, "euler", "normal", conditioning, conditioning, torch.zeros_like(noise), disable_pbar=True, seed=1
    )
    return hashlib.sha256(vae.decode(samples).detach().numpy().tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    child()
