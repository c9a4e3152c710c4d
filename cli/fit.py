"""``modelstream fit``: asks a running ComfyUI how much memory models will take, and whether that is there.

Only ComfyUI itself knows its architectures and devices, so the running one is asked, by its route that changes nothing.
"""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import urlencode

from ..storage.errors import ConfigError
from .output import DONE, INCOMPLETE, print_json, say, shown
from .running import Running, add_server_option

EXAMPLES = """
modelstream fit checkpoints/sdxl.safetensors
modelstream fit diffusion_models/flux1-dev.safetensors diffusion_models/flux1-dev-fp8.safetensors --width 1536 --height 1024
modelstream fit diffusion_models/wan2.2.safetensors --width 832 --height 480 --frames 81 --server http://127.0.0.1:8188 --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="FOLDER/NAME", help="as a loader shows it, with ComfyUI's folder before it")
    add_fit_options(parser)


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    add_server_option(parser)
    parser.add_argument("--width", type=int, default=1024, metavar="PIXELS")
    parser.add_argument("--height", type=int, default=1024, metavar="PIXELS")
    parser.add_argument("--frames", type=int, default=1, metavar="N", help="of a video (default: 1, a picture)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures at once")


def with_defaults(models: list[str], *, json: bool) -> argparse.Namespace:
    """The options of this command, for another that does the same."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return argparse.Namespace(**{**vars(parser.parse_args(models)), "json": json})


def run(options: argparse.Namespace) -> int:
    """1 where one of them does not fit, or nobody can say."""
    answers = [ask(options, model) for model in options.models]
    if options.json:
        print_json(answers)
    else:
        for answer in answers:
            for line in str(answer["text"]).splitlines():
                say(shown(line))
    return DONE if all(answer["verdict"]["kind"] in ("whole", "evict", "offload") for answer in answers) else INCOMPLETE


def ask(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """The answer of the running ComfyUI.  Raises ConfigError and OriginUnreachable."""
    folder, _, name = model.partition("/")
    if not name:
        raise ConfigError(f"{model} names no folder", next_step="write it as folder/name, for example checkpoints/sdxl.safetensors")
    size = {key: getattr(options, key) for key in ("width", "height", "frames", "batch")}
    status, body = Running(options.server).get("/modelstream/estimate?" + urlencode({"folder": folder, "name": name, **size}))
    if status != 200:
        raise ConfigError(f"{model}: {body.get('message', f'status {status}')}")
    return body
