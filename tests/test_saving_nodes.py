"""The nodes that write into buckets, in the real ComfyUI: what the owner allows happens, everything else is told."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rig.checkpoints import models
from rig.comfy import ComfyServer, Refused
from rig.invariants import eventually, holds_no_secret
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes
from rig.workflows import Graph, load_only, node

NEAR, RESULTS = "saving-near", "saving-results"
PUBLISH = '[publish]\nenabled = true\nfolders = ["checkpoints"]\nmax_gb = 1\n'


def config(seaweed: Seaweed, *, links: bool = True, publish: str = PUBLISH, metadata: str = "keep") -> str:
    results = f'[[origins]]\nname = "results"\nbucket = "{RESULTS}"\nprofile = "seaweed"\nprefix = "made"\n'
    pattern = "{date}/{prefix}_{seed}_{counter}"
    section = f'[results]\norigin = "results"\nlinks = {str(links).lower()}\nmetadata = "{metadata}"\npattern = "{pattern}"\n'
    return seaweed.config_toml(bucket=NEAR, more=f"{results}[ssd]\nfree_floor_gb = 0.1\n{publish}{section}")


@pytest.fixture(scope="module")
def buckets(seaweed: Seaweed) -> Any:
    s3 = seaweed.client()
    for bucket in (NEAR, RESULTS):
        s3.create_bucket(Bucket=bucket)
    models("tiny").upload(s3, NEAR)
    return s3


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed, buckets: Any) -> Iterator[ComfyServer]:
    with ComfyServer(config=config(seaweed)) as server:
        assert eventually(lambda: all(o["listed_s"] for o in server.get("/modelstream/status")["origins"]), within_s=60)
        yield server


def with_checkpoint(name: str) -> Graph:
    graph = {"4": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors")}
    graph["1"] = node("ModelStreamSaveCheckpoint", model=["4", 0], clip=["4", 1], vae=["4", 2], name=name, licence="mit", version="2")
    return graph


def with_images(prefix: str, seed: int = 7, width: int = 64) -> Graph:
    graph = {"2": node("EmptyImage", width=width, height=32, batch_size=2, color=0x3366CC)}
    graph["1"] = node("ModelStreamSaveImages", images=["2", 0], prefix=prefix, seed=seed)
    return graph


def keys(s3: Any, bucket: str) -> set[str]:
    return {row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", ())}


def test_a_checkpoint_is_saved_into_the_bucket_and_loads_from_there(comfy: ComfyServer, buckets: Any) -> None:
    run = comfy.prompt(with_checkpoint("mine/merged")).expect()
    assert "verified by crc64nvme" in run.outputs["1"]["text"][0]
    assert any(e["kind"] == "publish" and e["name"] == "merged.safetensors" for e in comfy.get("/modelstream/events")["events"])
    metrics = comfy.request("GET", "/modelstream/metrics").body.decode()
    assert 'comfyui_publishes_total{origin="bucket",result="finished"} 1.0' in metrics
    head = buckets.head_object(Bucket=NEAR, Key="checkpoints/mine/merged.safetensors")
    assert (head["Metadata"]["licence"], head["Metadata"]["version"], head["Metadata"]["type"]) == ("mit", "2", "checkpoints")
    assert len(head["Metadata"]["sha256"]) == 64
    assert not [p for p in comfy.base.rglob("model-stream-*") if p.is_dir()], "the temporary folder is gone"
    assert eventually(lambda: "mine/merged.safetensors" in comfy.choices("CheckpointLoaderSimple", "ckpt_name"), within_s=20)
    comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="mine/merged.safetensors")).expect()


def test_it_holds_exactly_what_the_stock_node_would_have_written(comfy: ComfyServer, buckets: Any) -> None:
    graph = with_checkpoint("same")
    graph["2"] = node("CheckpointSave", model=["4", 0], clip=["4", 1], vae=["4", 2], filename_prefix="stock")
    comfy.prompt(graph).expect()
    (stock,) = (comfy.base / "output").glob("stock_*.safetensors")
    ours = buckets.get_object(Bucket=NEAR, Key="checkpoints/same.safetensors")["Body"].read()
    assert tensors(ours) == tensors(stock.read_bytes()) and len(tensors(ours)[0]) > 10


def tensors(whole: bytes) -> tuple[dict[str, Any], bytes]:
    """(header without metadata, data) of a safetensors file."""
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    header.pop("__metadata__", None)
    return header, whole[start:]


TRAINER = """
import torch
class Trainer:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    RETURN_TYPES, FUNCTION, CATEGORY = ("LORA_MODEL",), "train", "test"
    def train(self):
        names = [f"lora_unet_down_blocks_0_attentions_0_x.lora_{way}.weight" for way in ("up", "down")]
        return ({name: torch.ones(4, 4, dtype=torch.bfloat16) for name in names},)
NODE_CLASS_MAPPINGS = {"Trainer": Trainer}
"""
"""hands out what ComfyUI's training node does: a state dict"""


def test_a_trained_lora_is_saved_into_the_bucket(seaweed: Seaweed, buckets: Any, tmp_path: Path) -> None:
    pack = tmp_path / "custom_nodes" / "a-trainer"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(TRAINER)
    publish = '[publish]\nenabled = true\nfolders = ["loras"]\n'
    with ComfyServer(config=config(seaweed, publish=publish, metadata="strip", links=False), base=tmp_path) as server:
        assert eventually(lambda: "tiny.safetensors" in server.choices("CheckpointLoaderSimple", "ckpt_name"), within_s=60)
        graph = {"2": node("Trainer"), "1": node("ModelStreamSaveLora", lora=["2", 0], name="trained", licence="mit")}
        run = server.prompt(graph).expect()
        assert "verified by crc64nvme" in run.outputs["1"]["text"][0]
        head = buckets.head_object(Bucket=NEAR, Key="loras/trained.safetensors")
        assert (head["Metadata"]["type"], head["Metadata"]["architecture"], head["Metadata"]["licence"]) == ("loras", "sd1", "mit")
        graph = with_images("plain")
        graph["3"] = node("PreviewAny", source=["1", 1])
        run = server.prompt(graph).expect()
        assert run.outputs["3"]["text"][0] == "", "the owner allows no links"
        name = run.outputs["1"]["text"][0].splitlines()[0]
        raw = buckets.get_object(Bucket=RESULTS, Key=f"made/{name}")["Body"].read()
        with Image.open(io.BytesIO(raw)) as picture:
            assert "prompt" not in picture.info
        with pytest.raises(Refused, match="does not allow saving into checkpoints"):
            server.prompt(with_checkpoint("x"))


def test_what_exists_is_never_replaced_from_a_node(comfy: ComfyServer, buckets: Any) -> None:
    before = buckets.head_object(Bucket=NEAR, Key="checkpoints/tiny.safetensors")["ETag"]
    error = comfy.prompt(with_checkpoint("tiny")).expect("error").error
    assert "the name is taken" in error["exception_message"]
    assert buckets.head_object(Bucket=NEAR, Key="checkpoints/tiny.safetensors")["ETag"] == before


@pytest.mark.parametrize("name", ["../up", "a/../../b", "/etc/x", "C:\\x", "CON", "a\nb", "", "x" * 2000])
def test_a_name_that_climbs_out_is_refused(comfy: ComfyServer, buckets: Any, name: str) -> None:
    before = keys(buckets, NEAR)
    comfy.prompt(with_checkpoint(name)).expect("error")
    assert keys(buckets, NEAR) == before


def test_images_are_saved_under_the_owners_names_and_come_back_the_same(comfy: ComfyServer, buckets: Any) -> None:
    run = comfy.prompt(with_images("castle", seed=11)).expect()
    names = run.outputs["1"]["text"][0].splitlines()
    assert [name.partition("/")[2] for name in names] == ["castle_11_00001.png", "castle_11_00002.png"]
    assert {f"made/{name}" for name in names} <= keys(buckets, RESULTS)
    raw = buckets.get_object(Bucket=RESULTS, Key=f"made/{names[0]}")["Body"].read()
    with Image.open(io.BytesIO(raw)) as picture:
        assert picture.size == (64, 32) and picture.getpixel((0, 0)) == (0x33, 0x66, 0xCC)
        assert json.loads(picture.info["prompt"])["1"]["class_type"] == "ModelStreamSaveImages"
    graph = {"1": node("ModelStreamLoadImage", name=names[1])}
    graph["2"] = node("SaveImage", images=["1", 0], filename_prefix="back")
    back = comfy.prompt(graph).expect()
    with Image.open(back.images[0]) as picture:
        assert picture.size == (64, 32) and picture.convert("RGB").getpixel((5, 5)) == (0x33, 0x66, 0xCC)
    more = comfy.prompt(with_images("castle", seed=11, width=72)).expect()
    assert more.outputs["1"]["text"][0].endswith("castle_11_00004.png")


@pytest.mark.parametrize("prefix", ["../../up", "a/b\\c", "x:y*?<img src=x>|", "\u202e\nnew", "...", ""])
def test_a_prefix_from_a_workflow_never_becomes_a_path(comfy: ComfyServer, buckets: Any, prefix: str) -> None:
    name = comfy.prompt(with_images(prefix, seed=3)).expect().outputs["1"]["text"][0].splitlines()[0]
    assert name.count("/") == 1 and ".." not in name.split("/") and "\\" not in name and "\n" not in name
    assert f"made/{name}" in keys(buckets, RESULTS)


def test_a_link_opens_the_picture_and_is_in_no_history_and_no_picture(comfy: ComfyServer, buckets: Any) -> None:
    graph = with_images("linked", seed=5)
    graph["3"] = node("PreviewAny", source=["1", 1])
    run = comfy.prompt(graph).expect()
    links = run.outputs["3"]["text"][0].splitlines()
    assert len(links) == 2
    with urllib.request.urlopen(links[0], timeout=10) as answer:
        assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
    quiet = comfy.prompt(with_images("unlinked", seed=6)).expect()
    assert "Signature" not in json.dumps(quiet.outputs)


@pytest.mark.parametrize("name", ["../checkpoints/tiny.safetensors", "nothing/there.png", "", "/abs.png"])
def test_what_is_no_result_is_not_loaded(comfy: ComfyServer, name: str) -> None:
    graph = {"1": node("ModelStreamLoadImage", name=name), "2": node("PreviewImage", images=["1", 0])}
    comfy.prompt(graph).expect("error")


def test_what_is_no_picture_is_told_and_a_huge_one_is_refused(comfy: ComfyServer, buckets: Any) -> None:
    buckets.put_object(Bucket=RESULTS, Key="made/fake.png", Body=b"\x89PNG\r\n\x1a\n" + bytes(100))
    graph = {"1": node("ModelStreamLoadImage", name="fake.png"), "2": node("PreviewImage", images=["1", 0])}
    assert "no picture" in comfy.prompt(graph).expect("error").error["exception_message"]


def test_nothing_secret_is_in_what_the_server_tells(comfy: ComfyServer, seaweed: Seaweed) -> None:
    comfy.prompt(with_images("canary", seed=9)).expect()
    told = [json.dumps(comfy.get(path)) for path in ("/history", "/object_info/ModelStreamSaveImages", "/modelstream/status")]
    assert seaweed.secret_key not in "".join(told)
    holds_no_secret(told[1:], [seaweed.secret_key])


def test_without_the_owners_word_nothing_is_written(seaweed: Seaweed, buckets: Any) -> None:
    before = keys(buckets, NEAR) | keys(buckets, RESULTS)
    with ComfyServer(config=seaweed.config_toml(bucket=NEAR, more="[ssd]\nfree_floor_gb = 0.1\n")) as server:
        assert eventually(lambda: "tiny.safetensors" in server.choices("CheckpointLoaderSimple", "ckpt_name"), within_s=60)
        with pytest.raises(Refused, match="switched off"):
            server.prompt(with_checkpoint("x"))
        with pytest.raises(Refused, match="No bucket for results"):
            server.prompt(with_images("x"))
    assert keys(buckets, NEAR) | keys(buckets, RESULTS) == before


# -- the panel's route -------------------------------------------------------------------------------------------------------
def test_the_panel_puts_a_local_model_into_the_bucket_where_the_owner_allows_it(comfy: ComfyServer, buckets: Any) -> None:
    token = {"X-Model-Stream-Token": comfy.get("/modelstream/token")["token"]}
    local = comfy.base / "models" / "checkpoints" / "sub" / "local.safetensors"
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(safetensors_bytes("local", 300_000))

    def ask(path: str, body: Any, headers: dict[str, str] = token) -> tuple[int, Any]:
        answer = comfy.request("POST", f"/modelstream/{path}", body, headers)
        return answer.status, answer.json()

    name = {"folder": "checkpoints", "name": "sub/local.safetensors"}
    assert comfy.get("/modelstream/publish")["folders"] == ["checkpoints"]
    assert ask("publish", name, {})[0] == 403, "without the token of the page"
    for folder, file in (
        ("loras", "x.safetensors"),
        ("checkpoints", "../../../etc/passwd"),
        ("checkpoints", "tiny.safetensors"),
        ("x", "y"),
    ):
        status, said = ask("publish", {"folder": folder, "name": file})
        assert status == 409 and said["error"] == "publish_refused", (folder, file, said)
    status, said = ask("publish", name)
    assert status == 202
    number = said["number"]

    def job() -> dict[str, Any]:
        return next(j for j in comfy.get("/modelstream/publish")["jobs"] if j["number"] == number)

    assert eventually(lambda: job()["state"] in ("done", "failed"), within_s=20) and job()["state"] == "done", job()
    stored = buckets.get_object(Bucket=NEAR, Key="checkpoints/sub/local.safetensors")["Body"].read()
    assert stored == local.read_bytes() and job()["message"] == "crc64nvme"
    assert ask("publish/cancel", {"number": number}) == (404, {"error": "unknown_job", "message": "there is no such job, or it is over"})
