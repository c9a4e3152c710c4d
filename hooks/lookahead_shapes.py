"""What ComfyUI's node classes say of themselves, as look-ahead needs it: read once a class, in look-ahead's own thread."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from .lookahead_order import UNKNOWN, NodeShape

WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})


class ComfyShapes:
    """class type → ``NodeShape``.  Used by one thread; a class that cannot be read is an unknown one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, NodeShape]] = {}

    def __call__(self, class_type: str) -> NodeShape:
        found = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get(class_type)
        if found is None:
            return UNKNOWN
        known = self._known.get(class_type)
        if known is None or known[0] is not found:
            known = self._known[class_type] = (found, shape_of(found))
        return known[1]


def widgets_of(class_type: str) -> tuple[str, ...]:
    """The names of a class's widgets, in the order in which a workflow file holds their values."""
    found = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get(class_type)
    try:
        specs = list(_specs(found.INPUT_TYPES())) if found is not None else []
    except Exception:  # other people's code: a class that cannot be read is an unknown one
        return ()
    plain = [(n, o) for n, k, o in specs if (isinstance(k, list) or k in WIDGETS) and not o.get("forceInput")]
    return tuple(name for name, _ in plain)


def shape_of(node_class: Any) -> NodeShape:
    """Asks other people's code what it takes: whatever that raises, the class is then unknown."""
    try:
        folders, lazy = {}, set()
        for name, kind, options in _specs(node_class.INPUT_TYPES()):
            folder = getattr(kind, "folder", "") or getattr(options.get("options"), "folder", "")
            if folder:
                folders[name] = str(folder)
            if options.get("lazy"):
                lazy.add(name)
        output = getattr(node_class, "OUTPUT_NODE", False) is True
        function = getattr(node_class, str(getattr(node_class, "FUNCTION", "")), None)
        return NodeShape(folders, frozenset(lazy), output, output or inspect.iscoroutinefunction(function))
    except Exception:
        return UNKNOWN


def _specs(input_types: Any) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """(input, its type or list of choices, its options)"""
    for part in ("required", "optional"):
        for name, spec in (input_types.get(part) or {}).items():
            if isinstance(spec, tuple | list) and spec:
                options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
                yield name, spec[0], options
