"""Reads a TOML table into a frozen dataclass and refuses what it does not know, by name.

Each field of the dataclass carries its own reader (``key(reader, default)``), so that a key, its type, its
limits and its default are written in one place.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

Reader = Callable[[Any, str], Any]
"""(value from TOML, full name of the key) → checked value; raises ConfigError"""

T = TypeVar("T")

_TOML_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table"}


def key(reader: Reader, default: Any = dataclasses.MISSING, *, secret: bool = False) -> Any:
    """A dataclass field that is a key of the file.  Without a default the key is required."""
    return dataclasses.field(default=default, repr=not secret, metadata={"reader": reader})


def read_table(cls: type[T], table: Any, where: str, **given: Any) -> T:
    """An instance of ``cls`` from ``table``; ``given`` are fields that are not keys of the file."""
    fields = {f.name: f for f in dataclasses.fields(cls) if "reader" in f.metadata}  # type: ignore[arg-type]
    table = expect(table, dict, where)
    refuse_unknown(table, fields, where)
    values = {name: fields[name].metadata["reader"](value, f"{where}.{name}") for name, value in table.items()}
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}.{name} is missing", next_step=f"add {name} = … to [{where}]")
    return cls(**values, **given)


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = sorted(known)
    for name in table:
        if name not in known:
            full = f"{where}.{name}" if where else name
            close = difflib.get_close_matches(name, known, n=1)
            step = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            raise ConfigError(f"the configuration has an unknown key, {full}", next_step=step)


def expect(value: Any, kind: type, where: str) -> Any:
    """``value`` when it is of the TOML type ``kind``; a whole number is a number, a boolean is never one."""
    wanted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        found = _TOML_NAMES.get(type(value), type(value).__name__)
        raise ConfigError(f"{where} must be {_TOML_NAMES[kind]}, not {found}", next_step="correct it in the configuration file")
    return value


def boolean() -> Reader:
    return lambda value, where: expect(value, bool, where)


def integer(low: int, high: int) -> Reader:
    return lambda value, where: _within(expect(value, int, where), low, high, where)


def number(low: float, high: float) -> Reader:
    return lambda value, where: float(_within(expect(value, float, where), low, high, where))


def text(*, empty: bool = True, most: int = 4096) -> Reader:
    def read(value: Any, where: str) -> str:
        expect(value, str, where)
        if len(value) > most or any(not c.isprintable() for c in value) or (not empty and not value.strip()):
            raise ConfigError(f"{where} must be {'' if empty else 'a non-empty '}text without control characters, at most {most} long")
        return value

    return read


def one_of(*choices: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if expect(value, str, where) not in choices:
            close = difflib.get_close_matches(value, choices, n=1)
            step = f"did you mean {close[0]}?" if close else f"choose one of: {', '.join(choices)}"
            raise ConfigError(f"{where} has a value that is not known", next_step=step)
        return value

    return read


def path() -> Reader:
    def read(value: Any, where: str) -> Path:
        found = Path(text(empty=False)(value, where)).expanduser()
        if not found.is_absolute():
            raise ConfigError(f"{where} must be an absolute path (or start with ~)")
        return found

    return read


def paths() -> Reader:
    return _each(path())


def tables(cls: type) -> Reader:
    """An array of tables, each read into ``cls``."""
    return _each(lambda value, where: read_table(cls, value, where))


def _each(one: Reader) -> Reader:
    return lambda value, where: tuple(one(item, f"{where}[{i}]") for i, item in enumerate(expect(value, list, where)))


def texts() -> Reader:
    one = text(empty=False)
    return lambda value, where: tuple(one(item, f"{where}[{i}]") for i, item in enumerate(expect(value, list, where)))


def _within(value: Any, low: float, high: float, where: str) -> Any:
    if not low <= value <= high:  # also refuses nan
        raise ConfigError(f"{where} must be between {low:g} and {high:g}", next_step="correct it in the configuration file")
    return value
