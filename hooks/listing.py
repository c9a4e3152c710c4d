"""Seam: ``folder_paths.get_filename_list``, which every dropdown and every validation asks.

Local names and the catalog's are merged, from memory; a local file wins over a bucket object of the same name.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import folder_paths

from .folders import view_of
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem


class TaggedNames(list[str]):
    """The names of a folder, which know their folder: whoever gets such a list as a node's options knows what is chosen from.

    A name that a workflow from another system wrote with the other slash is contained too.
    """

    __slots__ = ("folder",)

    def __init__(self, names: Iterable[str] = (), folder: str = "") -> None:
        super().__init__(names)
        self.folder = folder

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        return isinstance(name, str) and "\\" in name + os.sep and super().__contains__(_own_slashes(name))

    def __add__(self, others: Any) -> TaggedNames:  # type: ignore[override]
        return TaggedNames(super().__add__(others), self.folder)

    def __radd__(self, others: list[str]) -> TaggedNames:
        return TaggedNames([*others, *self], self.folder)

    def copy(self) -> TaggedNames:
        return TaggedNames(self, self.folder)


@dataclass(frozen=True, slots=True)
class _Merged:
    local: list[str]
    remote: tuple[str, ...]
    names: list[str]


class ListingSeam(Seam):
    name = "listing"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._catalog = runtime.catalog
        self._merged: dict[str, _Merged] = {}

    def problem(self) -> str:
        return shape_problem(getattr(folder_paths, "get_filename_list", None), "folder_name") or _folders_problem()

    def wrap_all(self) -> None:
        self.wrap(folder_paths, "get_filename_list", self._get_filename_list)

    def _get_filename_list(self, original: Wrapped, folder_name: str, *args: Any, **kwargs: Any) -> list[str]:
        local: list[str] = original(folder_name, *args, **kwargs)
        try:
            return self._with_remote(folder_name, local)
        except Exception as error:
            self.ours_failed(error)
            return local

    def _with_remote(self, folder_name: str, local: list[str]) -> list[str]:
        view = view_of(folder_name)
        if view is None:
            return local
        remote = self._catalog.names(view)
        merged = self._merged.get(view.folder)
        # The catalog gives the same tuple until something changes.
        if merged is None or merged.remote is not remote or merged.local != local:
            merged = self._merged[view.folder] = _Merged(list(local), remote, merge(local, remote))
        return TaggedNames(merged.names, view.folder)


def merge(local: list[str], remote: tuple[str, ...]) -> list[str]:
    """Both, sorted, each name once; ``remote`` is sorted and "/" separated.

    The few local names are cut into the many of the buckets: 1 ms for 100,000 names.
    """
    names = list(remote) if os.sep == "/" else sorted(name.replace("/", os.sep) for name in remote)
    merged: list[str] = []
    at = 0
    for name in sorted(set(local)):
        found = bisect.bisect_left(names, name, at)
        merged += names[at:found]
        merged.append(name)
        at = found + 1 if found < len(names) and names[found] == name else found
    return merged + names[at:]


def _own_slashes(name: str) -> str:
    return name.replace("\\", "/").replace("/", os.sep)


def _folders_problem() -> str:
    folders, root = (getattr(folder_paths, name, None) for name in ("folder_names_and_paths", "models_dir"))
    if not isinstance(folders, dict) or not isinstance(root, str):
        return "folder_paths keeps its folders in another way"
    return shape_problem(getattr(folder_paths, "map_legacy", None), "folder_name")
