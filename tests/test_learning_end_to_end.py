"""The real ComfyUI, twice: what it learned before a restart is in RAM before it is asked for after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import Graph, load_only

NAMES = ("first.safetensors", "second.safetensors")


def status(server: ComfyServer) -> dict[str, Any]:
    return server.get("/modelstream/status")


def load(number: int) -> Graph:
    return load_only("CheckpointLoaderSimple", ckpt_name=NAMES[number % 2])


def decisions(server: ComfyServer) -> list[dict[str, Any]]:
    return [one for one in status(server)["prefetch"]["decisions"] if one["source"] == "learned"]


def test_what_follows_is_fetched_into_ram_before_it_is_asked_for_also_after_a_restart(seaweed: Seaweed, tmp_path: Path):
    s3 = seaweed.client()
    s3.create_bucket(Bucket="habits")
    for name, made in zip(NAMES, (models("tiny"), models("tiny", depth=2)), strict=True):
        s3.upload_file(str(made.path("checkpoints/tiny.safetensors")), "habits", f"checkpoints/{name}")
    config = seaweed.config_toml(bucket="habits", more="[ssd]\nfree_floor_gb = 0.1\n[ram]\nbudget_gb = 0.5\n")
    with ComfyServer(config=config, base=tmp_path) as server:
        assert eventually(lambda: status(server)["origins"][0]["listed_s"], 60)
        for number in range(30):
            server.prompt(load(number)).expect()
        assert eventually(lambda: status(server)["learning"]["prompts"] == 30), status(server)["learning"]
        assert status(server)["learning"]["recall"]["1"] > 0.5
        assert status(server)["problem"] == ""
    (log,) = tmp_path.rglob("prompts.jsonl")
    assert "safetensors" not in log.read_text(), "no name is kept"
    with ComfyServer(config=config, base=tmp_path) as server:
        assert eventually(lambda: status(server)["origins"][0]["listed_s"], 60)
        assert status(server)["learning"]["state"] == "not started"
        server.prompt(load(0)).expect()
        assert eventually(lambda: [one["action"] for one in decisions(server)] == ["fetch"]), (status(server), server.log()[-2000:])
        (fetch,) = decisions(server)
        assert fetch["subject"].endswith(NAMES[1]) and fetch["tier"] == "ram" and fetch["p"] > 0.3
        assert eventually(lambda: not status(server)["prefetch"]["running"])
        server.prompt(load(1)).expect()
        second = next(entry for entry in status(server)["loads"] if entry["name"] == NAMES[1])
        assert second["source"] == "ram" and second["wire_bytes"] == 0
        assert eventually(lambda: status(server)["prefetch"]["totals"].get("useful", 0) >= 1), status(server)["prefetch"]
