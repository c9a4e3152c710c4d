"""``modelstream push`` and ``modelstream gc`` as somebody types them, against a real bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelstream.cli.main import main
from rig.invariants import holds_no_secret
from rig.publishing import safetensors_file
from rig.seaweed import Seaweed

LORA = "lora_unet_down_blocks_0_attentions_0_x.lora_up.weight"


@pytest.fixture
def comfyui(seaweed: Seaweed, bucket: str, tmp_path: Path) -> Path:
    """A ComfyUI's base directory with the extension's configuration, and no ComfyUI."""
    state = tmp_path / "user" / "__modelstream"
    state.mkdir(parents=True)
    config = state / "config.toml"
    config.touch(0o600)
    folders = 'prefix = "team"\nfolders = { "sd/" = "checkpoints" }\n'
    config.write_text(seaweed.config_toml(bucket=bucket).replace('profile = "seaweed"\n\n', f'profile = "seaweed"\n{folders}'))
    return tmp_path


class Command:
    def __init__(self, comfyui: Path, capsys: pytest.CaptureFixture[str], secret: str) -> None:
        self._comfyui, self._capsys, self._secret = comfyui, capsys, secret

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--comfyui", str(self._comfyui)])
        out, err = self._capsys.readouterr()
        holds_no_secret([out, err], [self._secret])
        return code, out, err


@pytest.fixture
def command(comfyui, capsys, seaweed) -> Command:
    return Command(comfyui, capsys, seaweed.secret_key)


def keys(seaweed: Seaweed, bucket: str) -> list[str]:
    client = seaweed.client()
    found = [row["Key"] for row in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    client.close()
    return found


def test_without_a_destination_the_folder_follows_from_the_tensors(command: Command, seaweed, bucket, tmp_path):
    file = tmp_path / "style.safetensors"
    safetensors_file(file, 100_000, tensor=LORA)
    code, out, _ = command("push", file)
    assert code == 0 and out.startswith("bucket:team/loras/style.safetensors: 100 kB in ") and "verified by crc64nvme" in out
    assert keys(seaweed, bucket) == ["team/loras/style.safetensors"]
    code, out, _ = command("push", file)
    assert code == 0 and "it was there already" in out


def test_the_origins_own_rule_says_where_a_folder_lies(command: Command, seaweed, bucket, tmp_path):
    file = tmp_path / "base.safetensors"
    safetensors_file(file, 100_000, tensor="model.diffusion_model.x")
    code, _, err = command("push", file)
    assert code == 1 and "--to ORIGIN:FOLDER/NAME" in err
    code, out, _ = command("push", file, "--to", "bucket:sd/", "--architecture", "sd1", "--json")
    pushed = json.loads(out)["pushed"][0]
    assert code == 0 and pushed["key"] == "team/sd/base.safetensors"
    assert pushed["labels"]["type"] == "checkpoints" and pushed["labels"]["architecture"] == "sd1"


def test_of_several_files_each_is_told_and_one_that_fails_keeps_no_other(command: Command, seaweed, bucket, tmp_path):
    good, bad, missing = (tmp_path / name for name in ("good.safetensors", "bad.safetensors", "missing.safetensors"))
    safetensors_file(good, 100_000)
    bad.write_bytes(b"no model at all, whatever its name")
    code, out, err = command("push", bad, missing, good, "--to", "bucket:vae/", "--json")
    said = json.loads(out)
    assert code == 1 and [row["key"] for row in said["pushed"]] == ["team/vae/good.safetensors"]
    assert [(row["file"], row["code"]) for row in said["failed"]] == [
        ("bad.safetensors", "safetensors"),
        ("missing.safetensors", "publish_refused"),
    ]
    assert "bad.safetensors" in err and str(tmp_path) not in err


@pytest.mark.parametrize(
    ("to", "word"),
    [
        ("vae/x.safetensors", "--to needs an origin"),
        ("nowhere:vae/", "no origin is called nowhere"),
        ("bucket:vae/x", "cannot have one name"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_before_anything_is_read(command: Command, to, word):
    code, _, err = command("push", "/no/such/a.safetensors", "/no/such/b.safetensors", "--to", to)
    assert code == 2 and word in err


def test_hostile_names_harm_no_terminal(command: Command, tmp_path):
    file = tmp_path / "evil\x1b[2J\u202e.safetensors"
    safetensors_file(file, 100_000)
    code, out, err = command("push", file, "--to", "bucket:vae/")
    assert code == 1 and "\x1b" not in out + err and "\u202e" not in out + err


def test_gc_shows_a_table_and_as_json_what_would_go(command: Command, seaweed, bucket):
    client = seaweed.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key="team/vae/left.safetensors")["UploadId"]
    code, out, _ = command("gc")
    assert code == 0 and "young" in out and "somebody's" in out and "0 uploads and 0 journals would go" in out
    code, out, _ = command("gc", "--others", "--older-than", "0", "--json")
    said = json.loads(out)
    assert code == 0 and not said["applied"] and [(u["upload_id"], u["why"]) for u in said["uploads"]] == [(upload, "goes")]
    code, out, _ = command("gc", "--others", "--older-than", "0", "--apply", "--json")
    assert code == 0 and [u["upload_id"] for u in json.loads(out)["removed"]] == [upload]
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    client.close()


def test_help_names_every_option_and_gives_examples(capsys):
    for name in ("push", "gc"):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        text = capsys.readouterr().out
        assert caught.value.code == 0 and "examples:" in text and "exit codes:" in text
