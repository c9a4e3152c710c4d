"""ComfyUI's own modules in this process, without its server.  Run by tests/test_hooks_in_comfyui.py in a child.

The catalog is real and lists a bucket that is a tuple; the cache is a stand-in that says what it was asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMFYUI = os.environ["COMFYUI_PATH"]
BASE = Path(tempfile.mkdtemp(prefix="modelstream-inside-"))
sys.argv = ["main.py", "--cpu", "--base-directory", str(BASE)]
sys.path.insert(0, COMFYUI)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.extra_config  # noqa: E402, F401, I001 - in main.py's order, before another package brings a "utils" of its own

import comfy.model_management  # noqa: E402
import comfy.utils  # noqa: E402
import folder_paths  # noqa: E402

from modelstream.cache.paths import Layout, safe_basename  # noqa: E402
from modelstream.hooks.runtime import Places, Runtime  # noqa: E402
from modelstream.hooks.seam import Seams  # noqa: E402
from modelstream.storage.catalog import Catalog  # noqa: E402
from modelstream.storage.config import CatalogConfig, Config  # noqa: E402
from modelstream.storage.events import Event, EventBus  # noqa: E402
from modelstream.storage.objects import ObjectId, RemoteObject  # noqa: E402

TOML = """
[profiles.p]
endpoint = "http://127.0.0.1:9"
allow_http = true
access_key_id = "a"
secret_access_key = "b"
[[origins]]
name = "far"
bucket = "bucket"
allow_pickles = ["embeddings/trusted/", "upscale_models/trusted/"]
"""


class Bucket:
    """What the catalog needs of an origin."""

    def __init__(self, config: Any, keys: list[str]) -> None:
        self.config, self.endpoint, self.keys = config, "http://127.0.0.1:9", keys

    def list_pages(self) -> Iterator[tuple[RemoteObject, ...]]:
        yield tuple(RemoteObject("far", ObjectId(self.endpoint, "bucket", key, "v1"), 1000, 5.0) for key in sorted(self.keys))


class Opened:
    source, wire_bytes, seconds = "bucket", 1000, 0.5

    def __init__(self, size_bytes: int, path: str = "", tensors: dict[str, Any] | None = None) -> None:
        self.size_bytes, self.path, self.tensors, self.closed = size_bytes, path, tensors, 0
        self.metadata: dict[str, str] | None = {"made": "here"}

    def state_dict(self, device: str = "cpu") -> dict[str, Any]:
        assert self.tensors is not None
        return {name: tensor.to(device) for name, tensor in self.tensors.items()}

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StandInCache:
    """bodies: what each key's file holds once it is fetched; asked: every call that would have fetched something;
    noted: uses that no tier saw."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.layout = catalog, Layout(BASE / "ssd")
        self.asked: list[tuple[str, str]] = []
        self.opened: list[Opened] = []
        self.noted: list[str] = []
        self.bodies: dict[str, bytes] = {}
        self.tensors: dict[str, dict[str, Any]] = {}
        self.in_memory: set[str] = set()
        self.error: Exception | None = None

    def path_for(self, obj: RemoteObject) -> str:
        self.catalog.remember(obj)
        return str(self.layout.entry(obj.id.digest) / safe_basename(obj.id.key))

    def object_at(self, path: str) -> RemoteObject | None:
        digest = self.layout.digest_of(path)
        return None if digest is None else self.catalog.by_digest(digest)

    def is_on_disk(self, obj: RemoteObject) -> bool:
        return os.path.exists(self.path_for(obj))

    def file_of(self, obj: RemoteObject) -> str | None:
        return self.path_for(obj) if self.is_on_disk(obj) else None

    def is_in_memory(self, obj: RemoteObject) -> bool:
        return obj.id.key in self.in_memory

    def open_file(self, obj: RemoteObject, watch: Any) -> Opened:
        self._ask("file", obj, watch)
        path = Path(self.path_for(obj))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bodies[obj.id.key])
        self.opened.append(Opened(obj.size_bytes, str(path)))
        return self.opened[-1]

    def open_tensors(self, obj: RemoteObject, watch: Any) -> Opened:
        self._ask("tensors", obj, watch)
        self.opened.append(Opened(obj.size_bytes, tensors=self.tensors[obj.id.key]))
        return self.opened[-1]

    def _ask(self, what: str, obj: RemoteObject, watch: Any) -> None:
        self.asked.append((what, obj.id.key))
        watch.check()
        if self.error:
            raise self.error

    def used(self, obj: RemoteObject, seconds: float = 0.0) -> None:
        self.noted.append(obj.id.key)

    def close(self) -> None: ...


class Comfy:
    """What a test works with: the folders, a bucket, the seams."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        config = Config.from_text(TOML)
        self.runtime = Runtime(config, Places(BASE / "state", BASE / "ssd"), self.bus)
        self.bucket = Bucket(config.origins[0], [])
        self.runtime.catalog = Catalog([self.bucket], CatalogConfig(), self.bus)
        self.cache = StandInCache(self.runtime.catalog)
        self.runtime._cache = self.cache  # type: ignore[assignment]
        self.seams = Seams(self.bus)

    def holds(self, *keys: str) -> None:
        self.bucket.keys = list(keys)
        self.runtime.catalog.refresh(wait=True)

    def local(self, key: str, body: bytes = b"local") -> str:
        path = BASE / "models" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        folder_paths.filename_list_cache.clear()
        return str(path)


@pytest.fixture
def comfy() -> Iterator[Comfy]:
    import shutil

    for name in ("models", "ssd"):
        shutil.rmtree(BASE / name, ignore_errors=True)
    folder_paths.filename_list_cache.clear()
    made = Comfy()
    yield made
    made.seams.take_off()


@contextlib.contextmanager
def in_a_node(prompt: str = "p1", node: str = "4") -> Iterator[None]:
    from comfy_execution.utils import CurrentNodeContext

    with CurrentNodeContext(prompt, node):
        yield


@pytest.fixture(name="in_a_node")
def _in_a_node() -> Any:
    return in_a_node


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(BASE, ignore_errors=True)
