"""Which ComfyUI folder an object belongs to, and under which name.  Pure functions over keys.

By default an object's directory under the origin's prefix names its folder: ``checkpoints/a/b.safetensors`` is
``a/b.safetensors`` in every folder that reads a directory called ``checkpoints``.  A rule of the origin
(``folders = {"models/sdxl/" = "checkpoints"}``) maps a prefix instead; the longest matching rule owns a key,
and a key that a rule owns appears nowhere else.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .config import FolderRule

NAME_BYTES_MAX = 1024
SEGMENT_BYTES_MAX = 255
"""a longer file name fits no file system that we could keep the object on"""

FORM = ".msframes"
"""compressed forms (`frames`): another way to read the object whose name they extend, and no model by themselves"""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""control characters, line separators, halves of characters"""
_WINDOWS_ONLY = re.compile(r'[<>:"|?*]')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")})
"""Windows opens these whatever follows the first dot"""


@dataclass(frozen=True, slots=True)
class FolderView:
    """A ComfyUI folder as the bucket sees it.

    folder:      ComfyUI's key, "checkpoints"
    directories: bucket directories that feed it, e.g. ("unet", "diffusion_models"); several segments are fine
    extensions:  lower case with dot; empty = all
    """

    folder: str
    directories: tuple[str, ...]
    extensions: frozenset[str]

    def accepts(self, name: str) -> bool:
        if not self.extensions:
            return not name.endswith(FORM)
        return name[-32:].lower().endswith(tuple(self.extensions))


@dataclass(frozen=True, slots=True)
class Source:
    """A key prefix that feeds a view, without the prefixes inside it that belong to somebody else (``holes``)."""

    prefix: str
    holes: tuple[str, ...] = ()


def is_safe_name(name: str, *, windows: bool = os.name == "nt") -> bool:
    """Whether a key (without the origin's prefix) may be shown as a model's name.

    Names become paths in other people's code, so what is special to any file system is refused on all of them.
    Under a microsecond: a listing asks for every key.
    """
    directory, slash, base = name.rpartition("/")
    return (
        _is_safe_segment(base, windows)
        and (not slash or _is_safe_directory(directory, windows))
        and (len(name) * 4 <= NAME_BYTES_MAX or _bytes(name) <= NAME_BYTES_MAX)
    )


def sources(view: FolderView, origin_prefix: str, rules: Sequence[FolderRule]) -> tuple[Source, ...]:
    """Where the objects of ``view`` lie, as full key prefixes; rules first, then directories in the view's order.

    rules: longest prefix first, as the configuration gives them.
    """
    mine = [rule.prefix for rule in rules if rule.folder == view.folder or rule.folder in view.directories]
    plain = [d.strip("/") + "/" for d in view.directories if d.strip("/")]
    owned = tuple(rule.prefix for rule in rules)
    found: dict[str, Source] = {}
    for prefix in [*mine, *(p for p in plain if not p.startswith(owned))]:
        holes = tuple(origin_prefix + other for other in owned if other != prefix and other.startswith(prefix))
        found.setdefault(prefix, Source(origin_prefix + prefix, holes))
    return tuple(found.values())


def lookup_name(name: str) -> str:
    """A name as a workflow may hold it, in the catalog's form: "/" separated, and never above its folder (as ComfyUI does)."""
    return posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/")


@functools.lru_cache(maxsize=4096)
def _is_safe_directory(directory: str, windows: bool) -> bool:
    return all(_is_safe_segment(segment, windows) for segment in directory.split("/"))


def _is_safe_segment(segment: str, windows: bool) -> bool:
    """Not empty, ".", ".." or absolute; no control character, backslash, drive, device or final dot or blank (Windows strips them)."""
    return (
        segment[-1:] not in ("", ".", " ")
        and "\\" not in segment
        and (segment.isprintable() or not _CONTROL.search(segment))
        and not (segment[1:2] == ":" and segment[0].isalpha())
        and segment.partition(".")[0].rstrip().lower() not in _DEVICES
        and (len(segment) * 4 <= SEGMENT_BYTES_MAX or _bytes(segment) <= SEGMENT_BYTES_MAX)
        and not (windows and _WINDOWS_ONLY.search(segment))
    )


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))
