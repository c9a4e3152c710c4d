"""The real ComfyUI, a real bucket, no local models: what a user sees."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rig.checkpoints import models
from rig.comfy import ComfyServer, Refused
from rig.seaweed import Seaweed
from rig.workflows import load_only, node, text_to_image

SLOW_MBIT = 60
"""26 MB take 3.5 s: long enough to watch and to interrupt"""
TOKEN = "X-Model-Stream-Token"

PACK = '''
"""A pack that opens its paths itself, and one early binding."""
import folder_paths
from safetensors import safe_open
from comfy.utils import load_torch_file

class DirectReader:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (folder_paths.get_filename_list("loras"),), "early": ("BOOLEAN", {"default": False})},
                "optional": {"twice": ("STRING", {"default": ""})}}
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "read", "test"
    def read(self, name, early, twice=""):
        path = folder_paths.get_full_path_or_raise("loras", name)
        if early:
            return (",".join(sorted(load_torch_file(path))),)
        with safe_open(path, "pt") as file:
            return (",".join(sorted(file.keys())),)

NODE_CLASS_MAPPINGS = {"DirectReader": DirectReader}
'''


@pytest.fixture(scope="module")
def bucket_models(seaweed: Seaweed) -> Iterator[str]:
    """A bucket with the models, those of depth 4 as slow-*; its name."""
    name, s3 = "end-to-end", seaweed.client()
    s3.create_bucket(Bucket=name)
    tiny, large, others = models("tiny"), models("tiny", depth=4), models("loaders")
    tiny.upload(s3, name)
    others.upload(s3, name)
    body = large.path("checkpoints/tiny.safetensors").read_bytes()
    for one in range(3):  # all different: the same bytes would be fetched once
        s3.put_object(Bucket=name, Key=f"checkpoints/slow-{one}.safetensors", Body=body[:-1] + bytes([one]))
    s3.upload_file(str(tiny.path("checkpoints/tiny.safetensors")), name, "checkpoints/sub/below.safetensors")
    s3.put_object(Bucket=name, Key="checkpoints/broken.safetensors", Body=b"not a safetensors file at all, whatever it is called")
    yield name


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed, bucket_models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("comfy")
    pack = base / "custom_nodes" / "a-direct-reader"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    config = seaweed.config_toml(bucket=bucket_models, more=f"[transfer]\nrate_limit_mbit = {SLOW_MBIT}\n[ssd]\nfree_floor_gb = 0.1\n")
    local = {"vae/tiny.safetensors": models("tiny").path("vae/tiny.safetensors")}
    with ComfyServer(config=config, base=base, models=local) as server:
        _until(lambda: status(server)["origins"][0]["listed_s"])
        yield server
        server.halt()
        assert seaweed.secret_key not in server.log()
        assert "X-Amz-Signature" not in server.log()


@pytest.fixture(autouse=True)
def _forget(comfy: ComfyServer) -> None:
    assert comfy.listener is not None
    comfy.listener.forget()


def status(server: ComfyServer) -> dict[str, Any]:
    return server.get("/modelstream/status")


def last_load(server: ComfyServer, name: str) -> dict[str, Any]:
    return [load for load in status(server)["loads"] if load["name"] == name][-1]


def test_every_seam_is_on(comfy: ComfyServer) -> None:
    assert {s["name"]: s["state"] for s in status(comfy)["seams"]} == dict.fromkeys(
        (
            *("listing", "resolving", "loading", "embeddings", "library", "safetensors_header", "view_metadata"),
            *("assign", "host_copies", "warm_models", "vram_pressure", "queue", "missing_models", "executions", "requests"),
        ),
        "on",
    )


def test_the_dropdown_has_what_is_only_in_the_bucket(comfy: ComfyServer) -> None:
    assert {"tiny.safetensors", "sub/below.safetensors"} <= set(comfy.choices("CheckpointLoaderSimple", "ckpt_name"))
    assert comfy.choices("UpscaleModelLoader", "model_name") == ["small-pickle.pth", "small-upscaler.safetensors"]
    assert "small-embedding" in comfy.get("/embeddings")
    assert "tiny.safetensors" in comfy.get("/models/loras")


def test_an_image_is_made_from_a_checkpoint_and_a_lora_of_the_bucket(comfy: ComfyServer) -> None:
    run = comfy.prompt(text_to_image("tiny.safetensors", lora="tiny.safetensors")).expect("success")
    (image,) = run.images
    assert len(set(Image.open(image).convert("L").tobytes())) > 50  # a picture, not one colour
    checkpoint = last_load(comfy, "tiny.safetensors")
    assert status(comfy)["totals"]["bytes_streamed"] >= checkpoint["size_bytes"]
    assert (checkpoint["prompt"], checkpoint["subject"].split(":")[0]) == (run.prompt_id, "bucket")


def test_the_pixels_are_those_of_local_files_with_lora_on_off_and_on(comfy: ComfyServer, tmp_path: Path) -> None:
    tiny = models("tiny")
    graphs = [text_to_image("tiny.safetensors", lora=lora) for lora in ("tiny.safetensors", None, "tiny.safetensors")]
    local = {key: tiny.path(key) for key in tiny}
    with ComfyServer(folder_name=None, models=local, base=tmp_path) as without:
        expected = [Image.open(without.prompt(graph).expect().images[0]).tobytes() for graph in graphs]
    found = [Image.open(comfy.prompt(graph).expect().images[0]).tobytes() for graph in graphs]
    assert expected[0] != expected[1]
    assert found == expected


def test_the_node_shows_bytes_rate_and_time_left_while_it_streams(comfy: ComfyServer) -> None:
    comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="slow-0.safetensors")).expect()
    assert comfy.listener is not None
    texts = comfy.listener.texts("1")
    assert any("/ 26.3 MB" in text and "MB/s" in text and "left" in text for text in texts), texts
    assert "from the bucket in" in texts[-1]
    steps = [t.values["value"] for t in comfy.listener.all("progress") if t.values["node"] == "1"]
    assert len(steps) > 5
    assert steps == sorted(steps)


def test_an_interrupt_ends_the_node_while_it_streams(comfy: ComfyServer) -> None:
    assert comfy.listener is not None
    prompt = comfy.submit(load_only("CheckpointLoaderSimple", ckpt_name="slow-1.safetensors"))
    comfy.listener.wait_for(lambda told: told.kind == "progress_text" and "left" in told.values["text"])
    comfy.interrupt()
    run = comfy.wait(prompt, timeout_s=20)
    assert run.state == "interrupted"
    assert not [load for load in status(comfy)["loads"] if load["name"] == "slow-1.safetensors"]
    # and the next prompt gets it, whatever was there already
    comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="slow-1.safetensors")).expect()


def test_a_local_file_of_the_same_name_wins(comfy: ComfyServer) -> None:
    loads = len(status(comfy)["loads"])
    comfy.prompt(load_only("VAELoader", vae_name="tiny.safetensors")).expect()
    assert len(status(comfy)["loads"]) == loads


def test_the_backslash_of_a_workflow_from_windows_is_accepted(comfy: ComfyServer) -> None:
    comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="sub\\below.safetensors")).expect()
    assert last_load(comfy, "sub\\below.safetensors")["subject"] == "bucket:checkpoints/sub/below.safetensors"


@pytest.mark.parametrize(
    ("loader", "output", "inputs"),
    [
        ("UNETLoader", 0, {"unet_name": "tiny.safetensors", "weight_dtype": "default"}),
        ("CLIPLoader", 0, {"clip_name": "small-clip.safetensors", "type": "stable_diffusion"}),
        ("CLIPVisionLoader", 0, {"clip_name": "small-vision.safetensors"}),
        ("ControlNetLoader", 0, {"control_net_name": "small-adapter.safetensors"}),
        ("UpscaleModelLoader", 0, {"model_name": "small-upscaler.safetensors"}),
    ],
)
def test_every_stock_loader_loads_from_the_bucket(comfy: ComfyServer, loader: str, output: int, inputs: dict[str, str]) -> None:
    run = comfy.prompt(load_only(loader, output, **inputs)).expect()
    assert status(comfy)["loads"][-1]["prompt"] == run.prompt_id


def test_a_pack_that_opens_the_path_itself_gets_a_whole_file(comfy: ComfyServer) -> None:
    graph = {"1": node("DirectReader", name="tiny.safetensors", early=False), "2": node("PreviewAny", source=["1", 0])}
    shown = comfy.prompt(graph).expect().outputs["2"]["text"][0]
    graph["1"]["inputs"]["early"] = True
    assert comfy.prompt(graph).expect().outputs["2"]["text"][0] == shown != ""


def test_a_pack_that_asks_for_a_path_and_then_loads_it_is_counted_once(comfy: ComfyServer) -> None:
    def run(seed: str) -> list[dict[str, Any]]:
        graph = {"1": node("DirectReader", name="tiny.safetensors", early=True, twice=seed), "2": node("PreviewAny", source=["1", 0])}
        prompt = comfy.prompt(graph).expect().prompt_id
        return [load for load in status(comfy)["loads"] if load["prompt"] == prompt]

    before = loads_counted(comfy)
    assert [load["name"] for load in run("once")] == ["tiny.safetensors"]
    assert len(run("again")) == 1
    assert loads_counted(comfy) == before + 2
    assert status(comfy)["transfers"] == []


def loads_counted(comfy: ComfyServer) -> float:
    lines = comfy.request("GET", "/modelstream/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('comfyui_model_load_seconds_count{folder="loras"'))


def test_an_embedding_in_the_prompt_text_is_fetched(comfy: ComfyServer) -> None:
    graph = load_only("CLIPLoader", clip_name="small-clip.safetensors", type="stable_diffusion")
    graph["2"] = node("CLIPTextEncode", clip=["1", 0], text="a cat, embedding:small-embedding")
    graph["3"] = node("PreviewAny", source=["2", 0])
    comfy.prompt(graph).expect()
    assert last_load(comfy, "small-embedding")["folder"] == "embeddings"


def test_a_pickle_is_refused_with_the_reason_in_comfyuis_dialog(comfy: ComfyServer) -> None:
    run = comfy.prompt(load_only("UpscaleModelLoader", model_name="small-pickle.pth")).expect("error")
    message = run.error["exception_message"]
    assert "upscale_models/small-pickle.pth" in message
    assert "pickle" in message
    assert "allow_pickles" in message


def test_an_error_names_object_cause_and_next_step(comfy: ComfyServer, seaweed: Seaweed) -> None:
    run = comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="broken.safetensors")).expect("error")
    assert "bucket:checkpoints/broken.safetensors" in run.error["exception_message"]
    assert status(comfy)["failures"][-1]["code"] == "safetensors"
    assert seaweed.secret_key not in json.dumps(dict(run.error), default=str)


def test_the_preview_of_a_bucket_object_shows_its_metadata(comfy: ComfyServer, seaweed: Seaweed, bucket_models: str) -> None:
    import safetensors.torch
    import torch

    body = safetensors.torch.save({"w": torch.ones(2)}, {"modelspec.title": "Täst"})
    seaweed.client().put_object(Bucket=bucket_models, Key="loras/with-metadata.safetensors", Body=body)
    _refresh(comfy)
    _until(lambda: "with-metadata.safetensors" in comfy.get("/models/loras"))
    for prefix in ("", "/api"):
        assert comfy.get(f"{prefix}/view_metadata/loras", filename="with-metadata.safetensors") == {"modelspec.title": "Täst"}
    assert comfy.request("GET", "/view_metadata/loras?filename=missing.safetensors").status == 404
    assert comfy.request("GET", "/view_metadata/loras?filename=..%2f..%2fetc%2fpasswd.safetensors").status == 404
    assert comfy.request("GET", "/view_metadata/checkpoints?filename=broken.safetensors").status == 502


def test_the_model_library_lists_the_bucket_with_sizes(comfy: ComfyServer) -> None:
    listed = {entry["name"]: entry for entry in comfy.get("/experiment/models/checkpoints")}
    assert listed["tiny.safetensors"]["size"] == models("tiny").size_bytes("checkpoints/tiny.safetensors")
    assert listed["tiny.safetensors"]["pathIndex"] == 0
    assert [e["name"] for e in comfy.get("/experiment/models/vae")].count("tiny.safetensors") == 1


def _refresh(comfy: ComfyServer) -> None:
    token = comfy.get("/modelstream/token")["token"]
    assert comfy.request("POST", "/modelstream/refresh", {}, {TOKEN: token}).status == 202


def _until(true: Any, tries: int = 200) -> None:
    pause = threading.Event()
    for _ in range(tries):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come true")


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_a_strangers_post_is_refused(comfy: ComfyServer, prefix: str, headers: dict[str, str], expected: int) -> None:
    token = {} if not headers else {TOKEN: comfy.get("/modelstream/token")["token"]}
    answer = comfy.request("POST", f"{prefix}/modelstream/refresh", b"{}", {"Content-Type": "application/json", **token, **headers})
    assert answer.status == expected
    assert "access-control-allow-origin" not in answer.headers


def test_the_token_is_handed_to_our_own_page_only_and_kept_by_nobody(comfy: ComfyServer) -> None:
    answer = comfy.request("GET", "/modelstream/token", headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}, {"Host": "evil.example"}):
        assert comfy.request("GET", "/modelstream/token", headers=headers).status in (403, 421)


def test_the_status_holds_no_secret_and_no_path(comfy: ComfyServer, seaweed: Seaweed) -> None:
    text = json.dumps(status(comfy))
    for secret in (seaweed.secret_key, seaweed.access_key, str(comfy.base), "X-Amz"):
        assert secret not in text


def test_the_configuration_cannot_be_had_over_http(comfy: ComfyServer) -> None:
    for path in ("/userdata/..%2f__modelstream%2fconfig.toml", "/view?filename=../user/__modelstream/config.toml&type=output"):
        assert comfy.request("GET", path).status in (400, 403, 404)
    assert comfy.request("GET", "/userdata/config.toml", headers={"comfy-user": "__modelstream"}).status in (400, 403, 404)


def test_a_name_that_is_nowhere_is_not_in_the_list(comfy: ComfyServer) -> None:
    with pytest.raises(Refused, match=r"value_not_in_list"):
        comfy.submit(load_only("CheckpointLoaderSimple", ckpt_name="nowhere.safetensors"))


# -- without a bucket --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "[[origins]]"),
        ("[profiles.p]\nendpont = 'https://s3.example.com'\n", "endpont"),
        ("this is not TOML", "TOML"),
        ("enabled = false\n", "enabled = false"),
    ],
    ids=["none", "a misspelt key", "not TOML", "switched off"],
)
def test_without_a_usable_configuration_comfyui_works_and_the_status_says_why(config: str | None, problem: str) -> None:
    with ComfyServer(config=config) as server:
        found = status(server)
        assert problem in found["problem"]
        assert (found["seams"], found["origins"]) == ([], [])
        assert server.choices("CheckpointLoaderSimple", "ckpt_name") == []
