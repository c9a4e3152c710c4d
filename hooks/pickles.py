"""Which files of a bucket may reach a reader that unpickles: none, unless the owner allowed their directory.

A pickle can run code while it is loaded, and whoever can write to the bucket writes it.
"""

from __future__ import annotations

from ..storage.config import Config
from ..storage.errors import PickleRefused
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import kind_of

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
"""numpy's formats can hold pickles too"""
HARMLESS = frozenset({"safetensors", "gguf"})
"""kinds of `kind_of` that no reader unpickles"""


def is_safetensors_name(name: str) -> bool:
    return name.lower().endswith(SAFETENSORS)


def may_unpickle(config: Config, obj: RemoteObject) -> bool:
    origin = config.origin(obj.origin)
    return origin is not None and origin.allows_pickle(obj.id.key)


def refuse_by_name(config: Config, obj: RemoteObject) -> None:
    """Raises PickleRefused for a name that says pickle, before a byte of it is fetched."""
    if obj.basename.lower().endswith(PICKLES) and not may_unpickle(config, obj):
        raise refusal(obj)


def refuse_by_content(config: Config, obj: RemoteObject, path: str) -> None:
    """Raises PickleRefused for a file that is a pickle, or may be one, whatever it is called."""
    if may_unpickle(config, obj):
        return
    with open(path, "rb") as file:
        first_bytes = file.read(16)
    if kind_of(first_bytes) not in HARMLESS:
        raise refusal(obj)


def refusal(obj: RemoteObject) -> PickleRefused:
    directory = obj.id.key.rpartition("/")[0]
    return PickleRefused(
        "this file is a pickle, and pickles are not loaded from this bucket",
        subject=obj.subject,
        cause="a pickle can run code while it is loaded, written by anybody who may write to the bucket",
        next_step=f'use the model as safetensors, or, if you trust the bucket, add "{directory}/" to allow_pickles of '
        f'the origin "{obj.origin}" in config.toml',
    )
