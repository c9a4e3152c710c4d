"""The nodes in the real ComfyUI, with two buckets; and their texts in every language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from PIL import Image

from rig.checkpoints import models
from rig.comfy import ComfyServer, Refused, Run
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import Graph, node, text_to_image

ROOT = Path(__file__).resolve().parents[1]
NODES = (
    *("LoadCheckpoint", "Prefetch", "Wait", "Pin", "Evict", "WarmSet", "Browser", "Status", "MemoryEstimate"),
    *("LoadDiffusionFit", "LoadCheckpointFit"),
    *("SaveCheckpoint", "SaveLora", "SaveImages", "LoadImage"),
)
TINY = "checkpoints/tiny.safetensors"
LANGUAGES = ("en", "zh", "ja", "de", "fr", "es", "ko", "ru")


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed) -> Iterator[ComfyServer]:
    """near has the tiny models; far has another version of the checkpoint, and one that near has not."""
    s3, tiny = seaweed.client(), models("tiny")
    for bucket in ("nodes-near", "nodes-far"):
        s3.create_bucket(Bucket=bucket)
    tiny.upload(s3, "nodes-near")
    for key in (TINY, "checkpoints/only-far.safetensors"):
        s3.upload_file(str(tiny.path(TINY)), "nodes-far", key)
    far = '[[origins]]\nname = "far"\nbucket = "nodes-far"\nprofile = "seaweed"\n'
    config = seaweed.config_toml(bucket="nodes-near", more=f"{far}[ssd]\nfree_floor_gb = 0.1\n")
    with ComfyServer(config=config) as server:
        assert eventually(lambda: all(origin["listed_s"] for origin in status(server)["origins"]), within_s=60)
        yield server


def status(server: ComfyServer) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/modelstream/status")
    return found


def shown(run: Run, node_id: str = "1") -> str:
    """The text under a node."""
    return str(run.outputs[node_id]["text"][0])


def one(class_type: str, **inputs: Any) -> Graph:
    return {"1": node(f"ModelStream{class_type}", **inputs)}


def test_every_node_is_there_with_a_tooltip_on_every_input(comfy: ComfyServer) -> None:
    for name in NODES:
        info = comfy.get(f"/object_info/ModelStream{name}")[f"ModelStream{name}"]
        assert info["category"] == "Model Stream"
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        assert inputs and all(spec[1].get("tooltip") for spec in inputs.values()), name


def test_the_browser_lists_what_the_other_nodes_take(comfy: ComfyServer) -> None:
    graph = one("Browser", folder="checkpoints", pattern="*", refresh=True)
    graph["2"] = node("ModelStreamPrefetch", models=["1", 0], tier="ssd", wait=True)
    run = comfy.prompt(graph).expect()
    assert "checkpoints/only-far.safetensors" in shown(run) and "checkpoints/tiny.safetensors" in shown(run)
    assert shown(run, "2").startswith("2 models, ") and "are in ssd" in shown(run, "2")
    assert status(comfy)["tiers"]["ssd"]["entries"] >= 2


def test_prefetch_wait_pin_evict_and_status_say_what_they_did(comfy: ComfyServer) -> None:
    assert "are on their way to ram" in shown(comfy.prompt(one("Prefetch", models=TINY, tier="ram", wait=False)).expect())
    assert "are in ram after" in shown(comfy.prompt(one("Wait", models=TINY, tier="ram", timeout_s=60.0)).expect())
    assert shown(comfy.prompt(one("Pin", models=TINY, action="pin")).expect()) == f"{TINY}: pinned"
    stays = shown(comfy.prompt(one("Evict", models=TINY, tier="all")).expect())
    assert "stays in ram: pinned" in stays and "stays in ssd: pinned" in stays
    comfy.prompt(one("Pin", models=TINY, action="unpin")).expect()
    assert "of ram freed" in shown(comfy.prompt(one("Evict", models=TINY, tier="ram")).expect())
    graph = one("Status")
    graph["2"] = node("SaveImage", images=["1", 1], filename_prefix="status")
    run = comfy.prompt(graph).expect()
    assert "RAM: " in shown(run) and "SSD: " in shown(run) and "Bucket: " in shown(run)
    with Image.open(run.images[0]) as picture:
        assert picture.width == 960 and len(picture.convert("RGB").getcolors(1 << 16) or ()) > 5


def test_a_warm_set_lists_the_bucket_models_of_its_workflow(comfy: ComfyServer) -> None:
    graph = text_to_image("tiny.safetensors", lora="tiny.safetensors")
    graph["1"] = node("ModelStreamWarmSet", tier="ssd", file_name="mine")
    text = shown(comfy.prompt(graph).expect())
    assert [(m["folder"], m["name"]) for m in tomllib.loads(text)["models"]] == [
        ("checkpoints", "tiny.safetensors"),
        ("loras", "tiny.safetensors"),
    ]
    assert (comfy.base / "output" / "model-stream" / "mine.toml").read_text() == text
    with pytest.raises(Refused, match="file_name"):
        comfy.prompt(one("WarmSet", tier="ssd", file_name="../../mine"))


def test_what_nodes_do_happens_in_every_prompt(comfy: ComfyServer) -> None:
    graph = one("Status")
    comfy.prompt(graph).expect()
    assert not comfy.prompt(graph).expect().cached


def test_the_nodes_are_chained_by_what_they_hand_on(comfy: ComfyServer) -> None:
    graph = one("Wait", models=TINY, tier="ssd", timeout_s=0.0)
    graph["2"] = node("ModelStreamEvict", models=TINY, tier="ram", after=["1", 1])
    graph["3"] = node("PreviewAny", source=["2", 0])
    seconds = float(shown(comfy.prompt(graph).expect(), "3"))
    assert seconds >= 0


def test_a_model_that_is_nowhere_is_told_by_name(comfy: ComfyServer) -> None:
    run = comfy.prompt(one("Prefetch", models="checkpoints/tinny.safetensors", tier="ram", wait=False)).expect("error")
    assert "did you mean checkpoints/tiny.safetensors?" in run.error["exception_message"]


def with_loader(origin: str, name: str = "tiny.safetensors", keep: str = "auto") -> Graph:
    graph = text_to_image(name)
    graph["4"] = node("ModelStreamLoadCheckpoint", ckpt_name=name, origin=origin, keep=keep)
    return graph


def test_the_checkpoint_comes_from_the_origin_that_was_chosen(comfy: ComfyServer) -> None:
    stock = comfy.prompt(text_to_image("tiny.safetensors")).expect()
    for origin, keep in (("nearest", "auto"), ("far", "pin"), ("bucket", "ssd")):
        run = comfy.prompt(with_loader(origin, keep=keep)).expect()
        assert Image.open(run.images[0]).tobytes() == Image.open(stock.images[0]).tobytes()
    subjects = [load["subject"] for load in status(comfy)["loads"]]
    assert f"far:{TINY}" in subjects


def test_an_origin_without_the_checkpoint_is_refused_before_the_prompt_runs(comfy: ComfyServer) -> None:
    assert "only-far.safetensors" in comfy.choices("ModelStreamLoadCheckpoint", "ckpt_name")
    comfy.prompt(with_loader("nearest", "only-far.safetensors")).expect()
    with pytest.raises(Refused, match="has no checkpoint"):
        comfy.prompt(with_loader("bucket", "only-far.safetensors"))


def test_no_widget_takes_an_origin_that_is_not_configured(comfy: ComfyServer) -> None:
    with pytest.raises(Refused):
        comfy.prompt(with_loader("http://169.254.169.254"))


# -- texts ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_names_every_node_input_and_output(comfy: ComfyServer, language: str) -> None:
    texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8"))
    assert set(texts) == {f"ModelStream{name}" for name in NODES}
    for name, text in texts.items():
        info = comfy.get(f"/object_info/{name}")[name]
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        assert set(text["inputs"]) == set(inputs)
        assert len(text.get("outputs", {})) in (0, len(info["output"]))
        if language == "en":
            assert (text["display_name"], text["description"]) == (info["display_name"], info["description"])
            assert {key: spec[1]["tooltip"] for key, spec in inputs.items()} == {k: v["tooltip"] for k, v in text["inputs"].items()}
        else:
            assert text["display_name"] != info["display_name"]


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_help_page(comfy: ComfyServer, name: str) -> None:
    for language in ("en", "zh"):
        path = f"/extensions/model-stream/docs/ModelStream{name}/{language}.md"
        answer = comfy.request("GET", path)
        assert answer.status == 200 and answer.body.decode().startswith("# "), path
