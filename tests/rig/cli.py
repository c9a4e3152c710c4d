"""The command line as tests call it: in this process for speed, or as a process of its own as users do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelstream.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
FLOOR = "[ssd]\nfree_floor_gb = 0.1\n"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """comfyui: the base directory of a ComfyUI, with the extension's configuration and no ComfyUI"""

    comfyui: Path

    @property
    def config(self) -> Path:
        return self.comfyui / "user" / "__modelstream" / "config.toml"

    @property
    def ssd(self) -> Path:
        return self.comfyui / "user" / "__modelstream" / "cache"

    def __call__(self, *words: str) -> Ended:
        """In this process.  Standard output is text in memory, so nothing of pytest is in the way."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*words, "--comfyui", str(self.comfyui)])
        return Ended(code, out.getvalue(), err.getvalue())

    def process(self, *words: str, **environment: str) -> Ended:
        """``python -m modelstream``."""
        command = [sys.executable, "-m", "modelstream", *words, "--comfyui", str(self.comfyui)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ, **environment})
        return Ended(ended.returncode, ended.stdout, ended.stderr)


def command_line(comfyui: Path, config_toml: str) -> CommandLine:
    made = CommandLine(comfyui)
    made.config.parent.mkdir(parents=True, exist_ok=True)
    made.config.touch(0o600)
    made.config.write_text(config_toml)
    return made
