"""Everything that is wrong with a configuration file, for who wants to put it right in one go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import KNOWN, SECTIONS, ProfileConfig, load_config, origin_from, parse_toml, profile_from
from .config_read import read_table, refuse_unknown
from .errors import ConfigError


def config_problems(path: Path) -> tuple[ConfigError, ...]:
    """Where ``load_config`` stops at the first: one of each section, profile and origin, and every unknown section.

    Empty where the file can be used.
    """
    try:
        load_config(path)
        return ()
    except ConfigError as error:
        first = error
    try:
        data = parse_toml(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return (first,)
    found = {str(first): first}

    def tried(read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except ConfigError as error:
            found.setdefault(str(error), error)
            return None

    for name in data.keys() - set(KNOWN):
        tried(refuse_unknown, {name: None}, KNOWN, "")
    for name, section in SECTIONS.items():
        tried(read_table, section, data.get(name, {}), name)
    tables = data.get("profiles", {})
    profiles = {name: tried(profile_from, table, name) for name, table in (tables.items() if isinstance(tables, dict) else ())}
    right: dict[str, ProfileConfig] = {name: profile for name, profile in profiles.items() if profile is not None}
    origins = data.get("origins", [])
    for place, table in enumerate(origins if isinstance(origins, list) else ()):
        named = table.get("profile", "") if isinstance(table, dict) else ""
        if len(right) == len(profiles) or named in right:  # else what is wrong is the profile
            tried(origin_from, table, f"origins[{place}]", right)
    return tuple(found.values())
