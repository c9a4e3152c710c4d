"""When two calls of a loader would give the same model: the key of the warm pool.

A key is made of the files (an object by its digest, a local file by path, time and size), of every other argument by value, and of
the devices that ComfyUI would use at that moment: extensions for several cards change those, and a model belongs to one device (its host
copy, in the RAM tier, to all of them).  A call with an argument that is not plain (a class, a function, a tensor) has no key: it is
passed on.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
from collections.abc import Hashable, Mapping
from typing import Any

from .runtime import Runtime
from .seam import Wrapped

_NAMES_OF_PLAIN = ("dtype", "device")
"""torch's own values, told by their names: they compare by value and never change"""


class NotPlain(Exception):
    """An argument that cannot be compared by value."""


def call_key(
    runtime: Runtime, loader: str, original: Wrapped, paths: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Hashable | None:
    """The key of this call; None when it has none.  ``paths``: the name of the argument with the path or paths.

    Raises nothing: a call that ComfyUI itself will refuse has no key.
    """
    try:
        given = _by_name(original, args, kwargs)
        if given.get("disable_dynamic"):  # ComfyUI asks for a model of its own
            return None
        found = given.pop(paths)
        files = tuple(_file(runtime, path) for path in ([found] if isinstance(found, str | os.PathLike) else found))
        return (loader, files, plain(given), devices_now())
    except (NotPlain, TypeError, OSError, KeyError, ValueError):
        return None


def devices_now() -> Hashable:
    """Where ComfyUI would put a diffusion model, a text encoder and a VAE now.  Raises NotPlain where it cannot say."""
    management = sys.modules.get("comfy.model_management")
    found = []
    for name in ("get_torch_device", "text_encoder_device", "vae_device"):
        ask = getattr(management, name, None)
        try:
            found.append(None if ask is None else str(ask()))
        except RuntimeError as error:
            raise NotPlain("a device that cannot be asked for") from error
    return tuple(found)


def _by_name(original: Wrapped, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Every argument by its name, defaults included.  Raises NotPlain for one that has no name of its own."""
    parameters = list(inspect.signature(original).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    unknown = kwargs.keys() - {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if len(args) > len(names) or unknown:
        raise NotPlain("an argument without a name")
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


def plain(value: Any) -> Hashable:
    """A hashable twin of a value that is made of plain ones; raises NotPlain."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return (type(value).__name__, value)
    if isinstance(value, enum.Enum):
        return (type(value).__qualname__, value.name)
    if type(value).__module__ == "torch" and type(value).__name__ in _NAMES_OF_PLAIN:
        return (type(value).__name__, str(value))
    if isinstance(value, Mapping):
        return ("dict", tuple(sorted(((str(k), plain(v)) for k, v in value.items()), key=lambda pair: pair[0])))
    if isinstance(value, list | tuple):
        return ("list", tuple(plain(v) for v in value))
    raise NotPlain(type(value).__name__)


def _file(runtime: Runtime, path: Any) -> Hashable:
    name = os.fspath(path)
    obj = runtime.object_at(name)
    if obj is not None:
        return ("object", obj.id.digest)
    found = os.stat(name)
    if not os.path.isfile(name):
        raise NotPlain("a directory")
    return ("file", os.path.realpath(name), found.st_mtime_ns, found.st_size)


def label_of(runtime: Runtime, path: Any) -> str:
    """For people and logs: the object's subject, or a local file's name without its directories."""
    first = path if isinstance(path, str | os.PathLike) else next(iter(path), "")
    name = os.fspath(first)
    obj = runtime.object_at(name)
    return obj.subject if obj is not None else f"local:{os.path.basename(name)}"


def digests_of(key: Hashable) -> tuple[str, ...]:
    """Of the bucket objects that a key of `call_key` stands for."""
    files = key[1] if isinstance(key, tuple) and len(key) > 1 and isinstance(key[1], tuple) else ()
    return tuple(file[1] for file in files if isinstance(file, tuple) and file[0] == "object")
