"""Where the configuration, the state and the SSD tier are: those of a ComfyUI, whether it runs or not."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.errors import ConfigError, OriginUnreachable

if TYPE_CHECKING:
    from ..cache.store import Cache
    from ..hooks.runtime import Runtime
    from ..storage.config import Config
    from ..storage.origin import Origin

# What follows imports when it is called: ``--help`` needs none of it, and what only talks to buckets needs no cache.

STATE_NAMES = ("__modelstream", "modelstream")
"""the extension's folder below ComfyUI's "user", of newer and older ComfyUIs"""


def add_place_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="ComfyUI's base directory, the one with user/ (default: here)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.toml (default: MODELSTREAM_CONFIG, else the ComfyUI's)")


def add_origin_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--origin", metavar="NAME", help="the origin of the configuration that is meant (default: all, or the only one)")


def config_path(options: argparse.Namespace) -> Path:
    from ..storage import environment

    path: Path = options.config or environment.config_path(state_directory(options.comfyui) / "config.toml")
    return path


def read_config(options: argparse.Namespace) -> Config:
    """Raises ConfigError, also where no bucket is configured."""
    from ..storage.config import load_config

    config = load_config(config_path(options))
    if not config.origins:
        raise ConfigError("no bucket is configured", next_step="write config.toml, or name one with --config (docs/configuration.md)")
    return config


def open_named_origins(options: argparse.Namespace) -> tuple[Origin, ...]:
    """The origins that ``--origin`` means, near to far: all without it.  Touches no network.  Raises ConfigError."""
    from ..storage.origin import open_origins

    origins = open_origins(read_config(options))
    if options.origin is None:
        return origins
    return (named_origin(origins, options.origin),)


def open_origin(options: argparse.Namespace) -> Origin:
    """The one that ``--origin`` means, or the only one.  Raises ConfigError where that leaves a choice."""
    from ..storage.origin import open_origins

    origins = open_origins(read_config(options))
    if options.origin is not None:
        return named_origin(origins, options.origin)
    if len(origins) > 1:
        raise ConfigError("several origins are configured", next_step=f"name one with --origin: {_names(origins)}")
    return origins[0]


def named_origin(origins: tuple[Origin, ...], name: str) -> Origin:
    """Raises ConfigError where none is called so."""
    for origin in origins:
        if origin.name == name:
            return origin
    raise ConfigError(f"no origin is called {name}", next_step=f"configured: {_names(origins)}")


def _names(origins: tuple[Origin, ...]) -> str:
    return ", ".join(origin.name for origin in origins)


@contextlib.contextmanager
def opened_runtime(options: argparse.Namespace, *, list_timeout_s: float | None = 120.0) -> Iterator[Runtime]:
    """The extension's parts, with every bucket listed.  Raises ModelStreamError.

    list_timeout_s: None: whatever an earlier listing left is enough
    """
    from ..cache.prefetch_set import FOLDERS, plain_view
    from ..hooks.runtime import Places, Runtime
    from ..storage.events import EventBus

    state = state_directory(options.comfyui)
    runtime = Runtime(read_config(options), Places(state=state, ssd=state / "cache"), EventBus())
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


@contextlib.contextmanager
def opened_cache(config: Config, state: Path) -> Iterator[Cache]:
    """The cache of a state folder, without a catalog: for objects that were listed otherwise.  Raises ModelStreamError."""
    from ..hooks.runtime import Places, Runtime
    from ..storage.events import EventBus

    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    runtime = Runtime(config, Places(state=state, ssd=state / "cache"), EventBus())
    try:
        yield runtime.cache
    finally:
        runtime.close()


def state_directory(comfyui: Path | None) -> Path:
    user = (comfyui or Path.cwd()) / "user"
    return next((user / name for name in STATE_NAMES if (user / name).is_dir()), user / STATE_NAMES[0])
