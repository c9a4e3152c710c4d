"""``doctor``: the configuration file, every problem of it and not only the first."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.config import load_config
from ..storage.config_endpoint import is_loopback
from ..storage.config_problems import config_problems
from ..storage.errors import ConfigError
from .findings import ERROR, NOTE, OK, WARNING, Finding, failed
from .output import count_text
from .places import config_path

if TYPE_CHECKING:
    from ..storage.config import Config

PART = "configuration"


def check(options: argparse.Namespace) -> tuple[Config | None, list[Finding]]:
    """The configuration, None where it cannot be used."""
    path = config_path(options)
    if not path.exists():
        step = "write it (docs/configuration.md has five lines to start with), or name another with --config or --comfyui"
        return None, [Finding(PART, "file", ERROR, f"there is no {_name(path)}", step)]
    problems = config_problems(path)
    if problems:
        return None, [failed(PART, _name(path), problem) for problem in problems]
    config = load_config(path)
    found = [Finding(PART, "file", OK, f"{_name(path)}: {count_text(len(config.origins), 'origin')}", value=len(config.origins))]
    if not config.enabled:
        found.append(Finding(PART, "enabled", WARNING, "enabled = false: the extension does nothing", "write enabled = true"))
    if not config.origins:
        step = "add [[origins]] with a bucket (docs/configuration.md)"
        found.append(failed(PART, "origins", ConfigError("no bucket is configured", next_step=step)))
    return config, found + _profiles(config)


def _profiles(config: Config) -> list[Finding]:
    found = []
    used = {origin.profile.name for origin in config.origins}
    for profile in config.profiles:
        where = f"profiles.{profile.name}"
        if profile.name not in used:
            found.append(Finding(PART, where, NOTE, "no origin uses it", "name it in an origin, or take it away"))
        if not profile.verify_tls:
            step = "set verify_tls = true, and name your own CA with ca_bundle"
            found.append(Finding(PART, where, WARNING, "verify_tls = false: anybody on the way can read and change everything", step))
        host = profile.endpoint.partition("://")[2]
        if profile.endpoint.startswith("http://") and not is_loopback(host.rpartition(":")[0] or host):
            found.append(Finding(PART, where, WARNING, "plain http to another machine", "use https, with ca_bundle for a CA of your own"))
    return found


def _name(path: Path) -> str:
    return "/".join(path.parts[-3:]) if "user" in path.parts else path.name
