"""Drag-in nodes (V3 schema), each a thin call into cache or storage.  Stock loaders need none of them."""

from __future__ import annotations


def all_nodes() -> list[type]:
    """The node classes to register."""
    return []
