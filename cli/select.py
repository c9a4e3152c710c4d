"""Which objects a command means: patterns over names, and ComfyUI's folders.

A name is the key below the origin's prefix.  A pattern without wildcards is a name, a file name or a directory; with
wildcards (``*``, ``?``, ``[…]``; ``*`` also crosses "/") it has to fit the whole name, or the file name where it has no "/".
``ORIGIN:PATTERN`` looks in one origin only, as messages name an object.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..storage.errors import ModelStreamError, ObjectMissing
from ..storage.layout import FolderView, sources

if TYPE_CHECKING:
    from ..storage.config import OriginConfig
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

_WILD = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Selection:
    """patterns: any of them; none: everything.  folder: ComfyUI's, "" for all."""

    patterns: tuple[str, ...] = ()
    folder: str = ""

    def test(self, origin: OriginConfig) -> Callable[[str], bool]:
        """For whole keys of this origin."""
        tests = [_pattern_test(rest) for pattern in self.patterns for name, rest in (_split(pattern, origin.name),) if name]
        places = sources(_view(self.folder), origin.prefix, origin.folders) if self.folder else ()
        start = len(origin.prefix)

        def fits(key: str) -> bool:
            if self.folder and not any(key.startswith(p.prefix) and not key.startswith(p.holes) for p in places):
                return False
            return not self.patterns or any(test(key[start:]) for test in tests)

        return fits

    def prefixes(self, origin: OriginConfig) -> tuple[str, ...]:
        """Key prefixes below which everything lies that can fit; they do not overlap.  () where nothing of this origin can."""
        heads = [_head(rest) for pattern in self.patterns for name, rest in (_split(pattern, origin.name),) if name]
        found = sorted({origin.prefix + head for head in heads} if self.patterns else {origin.prefix})
        if self.folder and found == [origin.prefix]:
            found = sorted({p.prefix for p in sources(_view(self.folder), origin.prefix, origin.folders)})
        return tuple(p for n, p in enumerate(found) if not any(p.startswith(other) for other in found[:n]))


def add_selection(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    help_text = "a name, file name, directory or pattern (* ? [ ]), ORIGIN:PATTERN for one origin"
    parser.add_argument("patterns", nargs="+" if required else "*", metavar="PATTERN", help=help_text)
    parser.add_argument("--folder", default="", metavar="NAME", help="only what ComfyUI shows in this folder, e.g. loras")


def selection_of(options: argparse.Namespace) -> Selection:
    return Selection(tuple(options.patterns), options.folder)


def list_selected(
    origins: Sequence[Origin], chosen: Selection, *, failed: Callable[[Origin, ModelStreamError], None] | None = None
) -> Iterator[RemoteObject]:
    """Everything that fits, origin by origin, as the listings come.

    failed: told of an origin that cannot be listed, and the others go on; without it the error is raised
    """
    from ..storage.origin import Origin

    for origin in origins:
        fits = chosen.test(origin.config)
        try:
            for prefix in chosen.prefixes(origin.config):
                part = origin if prefix == origin.prefix else Origin(replace(origin.config, prefix=prefix))
                for page in part.list_pages():
                    yield from (obj for obj in page if fits(obj.id.key))
        except ModelStreamError as error:
            if failed is None:
                raise
            failed(origin, error)


def selected(origins: Sequence[Origin], chosen: Selection) -> list[RemoteObject]:
    """The same, all at once; ObjectMissing where nothing fits a pattern, so that a misspelt name is no success."""
    found = list(list_selected(origins, chosen))
    by_origin = {origin.name: origin.config for origin in origins}
    for pattern in chosen.patterns:
        tests = {name: Selection((pattern,)).test(config) for name, config in by_origin.items()}
        if not any(tests[obj.origin](obj.id.key) for obj in found):
            step = "`modelstream ls` shows what there is"
            raise ObjectMissing("no object fits", subject=pattern, next_step=step)
    return found


def nearest(objects: Iterable[RemoteObject], origins: Sequence[Origin]) -> list[RemoteObject]:
    """Of what several origins have under one name, the nearest one's, as a loader would take."""
    prefixes = {origin.name: origin.prefix for origin in origins}
    first: dict[str, RemoteObject] = {}
    for obj in objects:
        first.setdefault(obj.id.key.removeprefix(prefixes.get(obj.origin, "")), obj)
    return list(first.values())


def _view(folder: str) -> FolderView:
    from ..cache.prefetch_set import plain_view

    return plain_view(folder)


def _split(pattern: str, origin: str) -> tuple[bool, str]:
    """(whether it can mean this origin, what is left of it)."""
    name, colon, rest = pattern.partition(":")
    if not colon or "/" in name or _WILD.search(name):
        return True, pattern
    return (True, rest) if name == origin else (False, "")


def _pattern_test(pattern: str) -> Callable[[str], bool]:
    if _WILD.search(pattern):
        fits = re.compile(fnmatch.translate(pattern)).match
        whole = "/" in pattern
        return lambda name: fits(name if whole else name.rpartition("/")[2]) is not None
    directory = pattern.rstrip("/") + "/"
    if "/" in pattern:
        return lambda name: name == pattern or name.startswith(directory)
    return lambda name: name == pattern or name.startswith(directory) or name.endswith("/" + pattern)


def _head(pattern: str) -> str:
    """What every name that fits begins with: whole directories before the first wildcard."""
    literal = _WILD.split(pattern, maxsplit=1)[0]
    if literal == pattern and "/" in pattern:
        return pattern.rstrip("/")  # "a/b" is the object a/b or what lies in a/b/
    return literal[: literal.rfind("/") + 1]
