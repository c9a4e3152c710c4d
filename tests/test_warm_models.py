"""Warm models on the real server: a user who goes back and forth between workflows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import load_only, text_to_image

CHECKPOINTS = ("a.safetensors", "b.safetensors")
MEMORY_SEAMS = ("assign", "host_copies", "warm_models", "vram_pressure")


@pytest.fixture(scope="module")
def bucket_models(seaweed: Seaweed) -> str:
    """Two checkpoints with different weights, a LoRA, a VAE."""
    name, s3 = "warm-models", seaweed.client()
    s3.create_bucket(Bucket=name)
    models("tiny").upload(s3, name)
    for key, seed in zip(CHECKPOINTS, (0, 1), strict=True):
        s3.upload_file(str(models("tiny", seed=seed).path("checkpoints/tiny.safetensors")), name, f"checkpoints/{key}")
    return name


def serving(seaweed: Seaweed, bucket: str, base: Path, vram: str, *, top: str = "") -> ComfyServer:
    config = top + seaweed.config_toml(bucket=bucket, more=f"[ssd]\nfree_floor_gb = 0.1\n[vram]\nkeep_free_gb = 0\n{vram}\n")
    return ComfyServer(config=config, base=base, args=["--fp16-unet"])


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed, bucket_models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    with serving(seaweed, bucket_models, tmp_path_factory.mktemp("warm"), "") as server:
        yield server


@pytest.fixture(scope="module")
def cold(seaweed: Seaweed, bucket_models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """The same without warm models and without the hand-over of memory."""
    more = "warm_models = false\n[ram]\nhand_over = false"
    with serving(seaweed, bucket_models, tmp_path_factory.mktemp("cold"), more) as server:
        yield server


@pytest.fixture
def fresh(comfy: ComfyServer) -> ComfyServer:
    free(comfy, unload_models=True, free_memory=True)
    assert memory(comfy)["warm"]["models"] == []
    return comfy


def status(server: ComfyServer) -> dict[str, Any]:
    return server.get("/modelstream/status")


def memory(server: ComfyServer) -> dict[str, Any]:
    return status(server)["memory"]


def free(server: ComfyServer, **asked: bool) -> None:
    """POST /free, and two prompts: the thread that runs them does what was asked after the first of them at the latest."""
    assert server.request("POST", "/free", asked).status == 200
    for value in (1, 2):
        server.prompt(load_only("PrimitiveInt", value=value)).expect()


def pixels(server: ComfyServer, checkpoint: str, lora: str | None = None, seed: int = 1) -> bytes:
    run = server.prompt(text_to_image(checkpoint, lora=lora, seed=seed)).expect()
    return Image.open(run.images[0]).tobytes()


def test_every_memory_seam_is_on(comfy: ComfyServer) -> None:
    states = {s["name"]: s["state"] for s in status(comfy)["seams"]}
    assert {name: states[name] for name in MEMORY_SEAMS} == dict.fromkeys(MEMORY_SEAMS, "on")


def test_going_back_and_forth_loads_each_checkpoint_once(fresh: ComfyServer) -> None:
    before, hits = status(fresh)["totals"]["loads"], memory(fresh)["warm"]["hits"]
    for seed, checkpoint in enumerate((*CHECKPOINTS, *CHECKPOINTS, CHECKPOINTS[0])):
        pixels(fresh, checkpoint, seed=seed)
    assert status(fresh)["totals"]["loads"] - before == 2
    found = memory(fresh)["warm"]
    assert found["hits"] - hits == 3
    assert [model["label"] for model in found["models"]] == [f"bucket:checkpoints/{name}" for name in (CHECKPOINTS[1], CHECKPOINTS[0])]
    assert all(model["load_seconds"] > 0 for model in found["models"])


def test_the_weights_lie_in_the_ram_tier_and_not_beside_it(fresh: ComfyServer) -> None:
    pixels(fresh, CHECKPOINTS[0], seed=20)
    (model,) = memory(fresh)["warm"]["models"]
    assert model["shared_bytes"] > 1_000_000  # the diffusion model; a VAE of half precision is converted on a CPU


def test_the_images_are_those_without_warm_models_bit_for_bit(fresh: ComfyServer, cold: ComfyServer) -> None:
    calls = [(CHECKPOINTS[0], None), (CHECKPOINTS[1], None), (CHECKPOINTS[0], "tiny.safetensors"), (CHECKPOINTS[0], None)]
    calls += [(CHECKPOINTS[1], "tiny.safetensors"), (CHECKPOINTS[0], "tiny.safetensors"), (CHECKPOINTS[1], None)]
    expected = [pixels(cold, *call) for call in calls]
    assert "memory" not in status(cold)
    assert len(set(expected)) == 4
    assert [pixels(fresh, *call) for call in calls] == expected
    assert "memory leak" not in fresh.log()


def test_unloading_models_keeps_them_warm_and_freeing_the_node_cache_does_not(fresh: ComfyServer) -> None:
    first = pixels(fresh, CHECKPOINTS[0], seed=30)
    free(fresh, unload_models=True)
    assert len(memory(fresh)["warm"]["models"]) == 1
    assert pixels(fresh, CHECKPOINTS[0], seed=31) != first
    free(fresh, free_memory=True)
    assert memory(fresh)["warm"]["models"] == []
    loads = status(fresh)["totals"]["loads"]
    assert pixels(fresh, CHECKPOINTS[0], seed=30) == first
    assert status(fresh)["totals"]["loads"] == loads + 1


def test_the_node_says_that_the_model_was_loaded_already(fresh: ComfyServer) -> None:
    pixels(fresh, CHECKPOINTS[0], seed=40)
    pixels(fresh, CHECKPOINTS[1], seed=40)
    assert fresh.listener is not None
    fresh.listener.forget()
    pixels(fresh, CHECKPOINTS[0], seed=41)
    assert any("a.safetensors was loaded already" in text for text in fresh.listener.texts("4"))


def test_a_machine_without_a_card_says_so(comfy: ComfyServer) -> None:
    assert memory(comfy)["devices"] == "not available"


def test_host_memory_is_watched_while_something_is_held_and_nothing_is_pinned_without_a_card(fresh: ComfyServer) -> None:
    pixels(fresh, CHECKPOINTS[0], seed=50)
    assert eventually(lambda: status(fresh)["host_memory"]["watch"] in ("psi", "clock"))
    found = status(fresh)
    assert found["host_memory"]["budget_bytes"] == found["tiers"]["ram"]["budget_bytes"] > 0
    assert found["host_memory"]["limit_bytes"] is None
    assert "pinned_memory" not in found


def test_switched_off_there_is_no_wrapper(seaweed: Seaweed, bucket_models: str, tmp_path: Path) -> None:
    with serving(seaweed, bucket_models, tmp_path, "", top="enabled = false\n") as server:
        found = status(server)
        assert found["seams"] == []
        assert "memory" not in found
