"""Which models a text names: a line each, `folder/name`, with `*` and `?` where many are meant.

Pure over the catalog: a name is looked up there and nowhere else, so that nothing a workflow says becomes a path.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..storage.catalog import Catalog
from ..storage.errors import ObjectMissing
from ..storage.layout import FolderView, lookup_name
from ..storage.objects import RemoteObject

MOST = 1000
"""objects that one node may name: more is a pattern that says too little"""
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One object, as ComfyUI names it."""

    folder: str
    name: str
    obj: RemoteObject

    @property
    def line(self) -> str:
        return f"{self.folder}/{self.name}"


def choose(text: str, catalog: Catalog, views: Iterable[FolderView], *, most: int = MOST) -> tuple[Chosen, ...]:
    """Everything that ``text`` names, in its order, each object once.

    A line that begins with no folder of ComfyUI's is looked for in all of them; one that ends in "/" means everything below.
    Raises ObjectMissing, which lists every line that names nothing, with what is called nearly so.
    """
    by_folder = {view.folder: view for view in views}
    found: dict[str, Chosen] = {}
    missing = []
    for line in _lines(text):
        before = len(found)
        hits = 0
        for chosen in _matches(line, catalog, by_folder):
            hits += 1
            found.setdefault(chosen.obj.id.digest, chosen)
            if len(found) > most:
                step = f"narrow the pattern {line!r} down"
                raise ObjectMissing(f"more than {most} models are meant", subject=line, next_step=step)
        if not hits and len(found) == before:
            missing.append(line)
    if missing:
        raise _none(missing, catalog, by_folder)
    return tuple(found.values())


def matching(view: FolderView, pattern: str, catalog: Catalog) -> Iterator[Chosen]:
    """Everything in the folder whose name fits ``pattern`` (`*`, `?`, upper and lower case the same), sorted by name."""
    matches = re.compile(fnmatch.translate(pattern.lower())).match
    for name in catalog.names(view):
        if matches(name.lower()) and (obj := catalog.find(view, name)) is not None:
            yield Chosen(view.folder, name, obj)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip() if line.lstrip().startswith("#") or " #" in line else line.strip()
        if line:
            yield line


def _matches(line: str, catalog: Catalog, by_folder: dict[str, FolderView]) -> Iterator[Chosen]:
    """A line that is the very name of an object means that object, whatever special characters it has."""
    wanted = line.replace("\\", "/")
    folder, slash, rest = wanted.partition("/")
    views = list(by_folder.values())
    if folder in by_folder and slash:
        views, wanted = [by_folder[folder]], rest
    if not wanted or wanted.endswith("/"):
        wanted += "*"
    for view in views:
        if (obj := catalog.find(view, wanted)) is not None:
            yield Chosen(view.folder, lookup_name(wanted), obj)
        elif _PATTERN.search(wanted):
            yield from matching(view, wanted, catalog)


def _none(missing: list[str], catalog: Catalog, by_folder: dict[str, FolderView]) -> ObjectMissing:
    names = [f"{folder}/{name}" for folder, view in by_folder.items() for name in catalog.names(view)]
    close = difflib.get_close_matches(missing[0], names, n=1, cutoff=0.6) if len(names) <= 20_000 else []
    step = f"did you mean {close[0]}?" if close else "the Bucket Browser node lists what there is"
    return ObjectMissing("no bucket has " + ", ".join(missing[:20]), subject=missing[0], next_step=step)
