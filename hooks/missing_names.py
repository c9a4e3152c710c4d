"""A model's name that no list has, and the one that was meant: other case, other slash, other subfolder, other extension.

Pure.  Only a single candidate is an answer: of two, nobody can say which was meant, and both are told.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

NAMES_MAX = 20_000
"""longer lists are not searched: it happens on the event loop (3 ms for so many)"""
EXTENSIONS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class Resolved:
    """name: the one that was meant, empty when there is none or more than one; why: how it differs"""

    name: str = ""
    why: str = ""
    candidates: tuple[str, ...] = ()


NOTHING = Resolved()


def resolve(wanted: str, names: Sequence[str], same_content: Collection[str] = ()) -> Resolved:
    """wanted: not in ``names``; same_content: names whose content is known to be what the workflow's author used."""
    if len(names) > NAMES_MAX:
        return NOTHING
    sought = _plain(wanted)
    base = sought.rpartition("/")[2]
    stem = _stem(base)
    by_base = [name for name in names if _plain(name).rpartition("/")[2] == base]
    exact = [name for name in by_base if _plain(name) == sought]
    others = [name for name in names if stem and _stem(_plain(name).rpartition("/")[2]) == stem]
    here = [name for name in others if _plain(name).rpartition("/")[0] == sought.rpartition("/")[0]]
    for why, found in (
        ("its letters or slashes differ", exact),
        ("the same content", [name for name in names if name in same_content]),
        ("in another subfolder", by_base),
        ("with another extension", here),
        ("in another subfolder and with another extension", others),
    ):
        if len(found) == 1:
            return Resolved(found[0], why)
        if found:
            return Resolved(candidates=tuple(found[:10]))
    return NOTHING


def of_same_content(hash_text: str, hash_type: str, versions: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Names whose ETag is the MD5 that a workflow states.  Other hashes cannot be compared without reading the objects.

    versions: (name, ETag)
    """
    stated = hash_text.strip().lower()
    if hash_type.strip().lower().replace("-", "") != "md5" or len(stated) != 32:
        return ()
    return tuple(name for name, version in versions if version.lower() == stated)


def _plain(name: str) -> str:
    return name.replace("\\", "/").replace(os.sep, "/").casefold()


def _stem(base: str) -> str:
    """Empty for what has no extension of a model."""
    stem, dot, extension = base.rpartition(".")
    return stem if dot and f".{extension}" in EXTENSIONS else ""
