"""Whether the owner allows writing into buckets, and under which names: light, asked before anything heavy is imported."""

from __future__ import annotations

from ..storage.config import Config
from ..storage.errors import PublishRefused
from ..storage.layout import is_safe_name

EXTENSION = ".safetensors"


def refused_because(config: Config, folder: str) -> str:
    """Why nothing may be put into this folder, as a sentence for the user; empty: it may."""
    if not config.publish.enabled:
        return "Saving models into a bucket is switched off: the owner of this server can allow it with enabled = true under [publish]."
    if folder not in config.publish.folders:
        return f"The owner of this server does not allow saving into {folder}: it is not among folders under [publish]."
    return "" if config.origins else "No bucket is configured."


def results_refused_because(config: Config) -> str:
    """The same for pictures."""
    if not config.results.origin:
        return "No bucket for results is configured: the owner of this server names one with origin under [results]."
    return ""


def checked_name(name: str) -> str:
    """A model's name as a user writes it, "merged" or "mine/merged.safetensors", with its extension.  Raises PublishRefused."""
    found = name.strip().replace("\\", "/")
    found = found if found.lower().endswith(EXTENSION) else found + EXTENSION
    if not is_safe_name(found, windows=True) or found == EXTENSION:
        step = "use letters, digits, dot, dash and underscore; / makes a folder"
        raise PublishRefused("this is no name for a model", subject=ascii(name)[:80], cause="a part of it is unsafe", next_step=step)
    return found
