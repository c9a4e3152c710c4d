"""Where the configuration, the state and the SSD tier are: those of a ComfyUI, whether it runs or not."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..cache.prefetch_set import FOLDERS, plain_view
from ..hooks.runtime import Places, Runtime
from ..storage import environment
from ..storage.config import load_config
from ..storage.errors import ConfigError, OriginUnreachable
from ..storage.events import EventBus

STATE_NAMES = ("__modelstream", "modelstream")
"""the extension's folder below ComfyUI's "user", of newer and older ComfyUIs"""


def add_place_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="ComfyUI's base directory, the one with user/ (default: here)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.toml (default: MODELSTREAM_CONFIG, else the ComfyUI's)")


@contextlib.contextmanager
def opened_runtime(options: argparse.Namespace, *, list_timeout_s: float | None = 120.0) -> Iterator[Runtime]:
    """The extension's parts, with every bucket listed.  Raises ModelStreamError.

    list_timeout_s: None: whatever an earlier listing left is enough
    """
    state = state_directory(options.comfyui)
    config = load_config(options.config or environment.config_path(state / "config.toml"))
    if not config.origins:
        raise ConfigError("no bucket is configured", next_step="write config.toml, or name one with --config (docs/configuration.md)")
    runtime = Runtime(config, Places(state=state, ssd=state / "cache"), EventBus())
    try:
        runtime.start(tuple(plain_view(folder) for folder in FOLDERS))
        if list_timeout_s is not None and not runtime.catalog.refresh(wait=True, timeout_s=list_timeout_s):
            raise OriginUnreachable("the buckets were not listed in time", next_step="check the endpoint and the network")
        for one in runtime.catalog.states():
            if one.error is not None and not one.listed_s:
                raise one.error
        yield runtime
    finally:
        runtime.close()


def state_directory(comfyui: Path | None) -> Path:
    user = (comfyui or Path.cwd()) / "user"
    return next((user / name for name in STATE_NAMES if (user / name).is_dir()), user / STATE_NAMES[0])
