"""``python -m modelstream warm`` and ``warm-set`` against a real bucket, and the files they read and write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.prefetch_set import WarmModel, WarmSet, read_warm_set, to_toml, warm_set_of
from modelstream.cli.main import main
from modelstream.storage.errors import ConfigError
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

SIZES = {"checkpoints/sub/a.safetensors": 300_000, "loras/b.safetensors": 200_000, "embeddings/c.safetensors": 50_000}


@pytest.fixture
def comfyui(seaweed: Seaweed, bucket: str, tmp_path: Path) -> Path:
    """A ComfyUI's base directory with the extension's configuration, and no ComfyUI."""
    for key, size in SIZES.items():
        seaweed.client().put_object(Bucket=bucket, Key=key, Body=safetensors_bytes(key, size))
    state = tmp_path / "user" / "__modelstream"
    state.mkdir(parents=True)
    (state / "config.toml").write_text(seaweed.config_toml(bucket=bucket, more="[ssd]\nfree_floor_gb = 0.1\n"))
    (state / "config.toml").chmod(0o600)
    return tmp_path


def run(comfyui: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main([arguments[0], "--comfyui", str(comfyui), *arguments[1:], "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_warm_set_is_on_the_ssd_afterwards_and_a_second_run_fetches_nothing(comfyui, capsys, tmp_path):
    manifest = tmp_path / "set.toml"
    models = [
        WarmModel("checkpoints", "sub/a.safetensors"),
        WarmModel("", "b.safetensors"),
        WarmModel(origin="bucket", key="embeddings/c.safetensors"),
    ]
    manifest.write_text(to_toml(models, "ssd"))
    code, planned = run(comfyui, capsys, "warm", str(manifest), "--dry-run")
    assert code == 0 and len(planned["would_fetch"]) == 3
    code, first = run(comfyui, capsys, "warm", str(manifest))
    assert code == 0 and first["done"] == 3 and first["wire_bytes"] >= 540_000 and not first["failed"]
    code, second = run(comfyui, capsys, "warm", str(manifest))
    assert code == 0 and second["done"] == 3 and second["wire_bytes"] == 0


def test_what_no_bucket_has_and_what_finds_no_room_are_named_and_the_rest_is_fetched(comfyui, capsys, tmp_path):
    manifest = tmp_path / "set.json"
    names = ["sub/a.safetensors", "gone.safetensors"]
    listed = [{"folder": "checkpoints", "name": name} for name in names] + [{"folder": "loras", "name": "b.safetensors"}]
    manifest.write_text(json.dumps({"models": listed}))
    config = comfyui / "user" / "__modelstream" / "config.toml"
    config.write_text(config.read_text().replace("free_floor_gb = 0.1", f"free_floor_gb = 0.1\nbudget_gb = {350_000 / (1 << 30)}"))
    code, outcome = run(comfyui, capsys, "warm", str(manifest))
    assert code == 1 and outcome["missing"] == ["checkpoints/gone.safetensors"] and outcome["done"] == 1
    assert outcome["no_room"] == ["bucket:loras/b.safetensors"]


def test_a_workflow_is_a_warm_set_too(comfyui, capsys, tmp_path):
    workflow = {
        "nodes": [
            {"id": 1, "type": "Ckpt", "widgets_values": ["sub/a.safetensors"], "properties": {}},
            {"id": 2, "type": "Encode", "widgets_values": ["a cat embedding:c"], "inputs": [{"name": "clip", "link": 1}]},
            {"id": 3, "type": "Lora", "mode": 4, "widgets_values": ["b.safetensors"]},
        ],
        "links": [[1, 1, 0, 2, 0, "CLIP"]],
    }
    (tmp_path / "w.json").write_text(json.dumps(workflow))
    code, outcome = run(comfyui, capsys, "warm", str(tmp_path / "w.json"))
    assert code == 0 and outcome["done"] == 2
    assert (
        main(
            [
                "warm-set",
                "--comfyui",
                str(comfyui),
                "--hours",
                "1",
                "--workflow",
                str(tmp_path / "w.json"),
                "-o",
                str(tmp_path / "out.toml"),
            ]
        )
        == 0
    )
    assert {m.name or m.key for m in read_warm_set(tmp_path / "out.toml").models} >= {"sub/a.safetensors", "c.safetensors"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[model]]\n",
        "models = [1]",
        "[[models]]\nfolder = 'x'\n",
        "[[models]]\nname = 'x'\nurl = 'http://x'\n",
        "tier = 'vram'\nmodels = []",
        "{",
        "\x00",
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_exit_code_two(text, comfyui, capsys, tmp_path):
    (tmp_path / "bad.toml").write_text(text)
    assert main(["warm", "--comfyui", str(comfyui), str(tmp_path / "bad.toml")]) == 2
    said = capsys.readouterr().err
    assert "bad.toml" in said and str(tmp_path) not in said
    with pytest.raises(ConfigError):
        read_warm_set(tmp_path / "absent.toml")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.lists(st.builds(WarmModel, folder=texts, name=texts) | st.builds(WarmModel, origin=texts, key=texts), max_size=5),
    st.sampled_from(["", "ram", "ssd"]),
)
def test_what_is_written_is_read_again(models, tier):
    import tomllib

    assert warm_set_of(tomllib.loads(to_toml(models, tier))) == WarmSet(tuple(dict.fromkeys(models)), tier)
