"""``modelstream warm --tier ram``: a running ComfyUI is asked through its guarded route and fills its own memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstream.cli.main import main
from modelstream.cli.running import Running
from modelstream.storage.errors import ConfigError
from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.processes import free_ports
from rig.seaweed import Seaweed

TINY = "checkpoints/tiny.safetensors"


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed) -> Iterator[ComfyServer]:
    s3 = seaweed.client()
    s3.create_bucket(Bucket="warmram")
    models("tiny").upload(s3, "warmram")
    s3.put_object(Bucket="warmram", Key="checkpoints/old.ckpt", Body=b"no tensors to be had from this" * 1000)
    with ComfyServer(config=seaweed.config_toml(bucket="warmram", more="[ssd]\nfree_floor_gb = 0.1\n")) as server:
        assert eventually(lambda: all(origin["listed_s"] for origin in server.get("/modelstream/status")["origins"]), within_s=60)
        yield server


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "set.toml"
    path.write_text("".join(f'[[models]]\nfolder = "checkpoints"\nname = "{name}"\n' for name in ("tiny.safetensors", "old.ckpt")))
    return path


def warm(comfy: ComfyServer, manifest: Path, *more: str) -> int:
    places = ("--comfyui", str(comfy.base), "--config", str(comfy.config_path))
    return main(["warm", str(manifest), "--tier", "ram", *places, *more])


def tiers(comfy: ComfyServer) -> dict[str, Any]:
    return {row["name"]: row["tiers"] for row in comfy.get("/modelstream/models")["rows"] if row["folder"] == "checkpoints"}


def test_a_warm_set_is_in_the_memory_of_the_running_comfyui_and_what_has_no_tensors_on_its_ssd(comfy, manifest, capsys) -> None:
    assert warm(comfy, manifest, "--server", comfy.url, "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["done"] == outcome["objects"] == 2 and not outcome["failed"]
    assert outcome["wire_bytes"] == outcome["size_bytes"]
    found = tiers(comfy)
    assert "ram" in found["tiny.safetensors"]
    assert "ssd" in found["old.ckpt"] and "ram" not in found["old.ckpt"]
    assert warm(comfy, manifest, "--server", comfy.url) == 0
    assert "2 of 2 models in RAM" in capsys.readouterr().out


def test_a_token_of_before_a_restart_is_fetched_again_and_other_refusals_are_told(comfy) -> None:
    running = Running(comfy.url)
    running._token = "of an earlier process"
    assert running.change("/modelstream/refresh", {}) == {"asked": True}
    with pytest.raises(ConfigError) as refused:
        running.change("/modelstream/prefetch", {"digests": ["0" * 64], "tier": "ram"})
    assert "the running ComfyUI refuses" in str(refused.value)
    with pytest.raises(ConfigError):
        running.read("/modelstream/warming/w999")


def test_without_a_running_comfyui_nothing_is_fetched_and_the_message_says_what_to_do(comfy, manifest, capsys) -> None:
    assert warm(comfy, manifest, "--server", f"http://127.0.0.1:{free_ports(1)[0]}") == 2
    assert "--server" in capsys.readouterr().err
