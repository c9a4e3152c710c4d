"""Model files with random weights, made once from ComfyUI's own classes and kept beside the virtual environment.

Kinds:
  tiny     checkpoints, diffusion_models, vae, loras; 6 MB with depth 1, about 26 / 159 / 515 MB with depth 4 / 8 / 12.
           Its images depend on seed, steps, weights and LoRA, not on the text.
  sd15     checkpoints (2.13 GB in fp16), vae (0.17 GB), loras: the real shapes of Stable Diffusion 1.5
  loaders  what the other stock loaders accept, a few MB together: text_encoders, clip_vision, controlnet,
           upscale_models (also as a pickle), embeddings
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import ServerFailed

ROOT = Path(__file__).resolve().parents[2]
FORMAT = 1
"""grows when the same options give other bytes"""


@dataclass(frozen=True)
class ModelSet:
    """Files as they lie in a models folder or a bucket: keys are "checkpoints/tiny.safetensors"."""

    folder: Path

    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def path(self, key: str) -> Path:
        return self.folder / key

    def size_bytes(self, key: str) -> int:
        return self.path(key).stat().st_size

    def upload(self, s3: Any, bucket: str, *, prefix: str = "", said: Callable[[str], None] | None = None) -> None:
        """Uploads every file with the checksum that AWS gives by itself, so that downloads can be compared with it."""
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=2)
        options = {"ChecksumAlgorithm": "CRC64NVME"}
        for key in self:
            if said:
                said(f"uploading {key} ({self.size_bytes(key) / 1e6:,.1f} MB)")
            s3.upload_file(str(self.path(key)), bucket, prefix + key, ExtraArgs=options, Config=parts)


def comfyui_path() -> Path:
    """The ComfyUI that tests and the demo run: COMFYUI_PATH, else the one that dev.py put into .venv."""
    return Path(os.environ.get("COMFYUI_PATH") or ROOT / ".venv" / "ComfyUI").resolve()


def models(kind: str, *, depth: int = 1, dtype: str = "fp16", seed: int = 0) -> ModelSet:
    """The files of a kind, made now if they were never made with these options."""
    keep = ROOT / ".venv" / "models"
    folder = keep / f"{kind}-v{FORMAT}-depth{depth}-{dtype}-seed{seed}"
    if folder.is_dir():
        return ModelSet(folder)
    keep.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=keep))
    try:
        command = [sys.executable, str(Path(__file__).with_name("modelmaker.py")), str(comfyui_path()), str(scratch), kind]
        command += ["--depth", str(depth), "--dtype", dtype, "--seed", str(seed)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise ServerFailed(f"making the {kind} models failed:\n" + done.stdout.decode("utf-8", "replace")[-3000:])
        try:
            scratch.rename(folder)
        except OSError:
            # Somebody else made the same files in the meantime.
            if not folder.is_dir():
                raise
        return ModelSet(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
