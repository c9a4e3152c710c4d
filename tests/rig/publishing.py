"""A file on its way into a real bucket, behind the fault proxy: what a test of publishing needs, and what holds afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelstream.storage.config import Config, ProfileConfig
from modelstream.storage.errors import ModelStreamError
from modelstream.storage.origin import Origin
from modelstream.storage.publish import PublishSettings, publish
from modelstream.storage.publish_bucket import Bucket
from modelstream.storage.publish_plan import Published, PublishRequest

from .faultproxy import Exchange, FaultProxy
from .invariants import NothingLeaks, explains_itself
from .transfers import QUICK, made_up

MIB = 1 << 20
PART_BYTES = 5 * MIB
"""the smallest that S3 takes"""
KEY = "checkpoints/a.safetensors"


def safetensors_file(path: Path, data_bytes: int, seed: str = "", tensor: str = "model.weight") -> bytes:
    """A valid file of one tensor; returns its bytes."""
    header = json.dumps({tensor: {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}}).encode()
    header += b" " * (-len(header) % 8)
    whole = struct.pack("<Q", len(header)) + header + made_up(f"push {seed}", data_bytes)
    path.write_bytes(whole)
    return whole


@dataclass(frozen=True)
class LostAnswer:
    """The server does what it was asked, and the answer never arrives."""

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        b"".join(answer.chunks())
        exchange.abort(reset=True)


@dataclass(frozen=True)
class FlippedBody:
    """One bit of the request's body changes on the way."""

    def __call__(self, exchange: Exchange) -> None:
        body = bytearray(exchange.body)
        body[len(body) // 2] ^= 1
        exchange.body = bytes(body)
        exchange.relay(exchange.forward())


class PublishRig:
    """origin: behind the proxy; direct: a boto3 client past it."""

    def __init__(
        self, seaweed: Any, bucket: str, proxy: FaultProxy, folder: Path, *, extra: str = "", keys: tuple[str, str] = ("", "")
    ) -> None:
        self.server, self.bucket, self.proxy, self.folder = seaweed, bucket, proxy, folder
        self.state = folder / "state"
        self.direct = seaweed.client()
        access, secret = keys if keys[0] else (seaweed.access_key, seaweed.secret_key)
        self.secrets = [seaweed.secret_key, secret]
        self.toml = (
            f'{QUICK}\n[profiles.test]\nendpoint = "{proxy.url}"\nallow_http = true\naccess_key_id = "{access}"\n'
            f'secret_access_key = "{secret}"\nconnect_timeout_s = 1\nread_timeout_s = 2\nmax_attempts = 2\n{extra}\n'
            f'[[origins]]\nname = "rig"\nbucket = "{bucket}"\nprofile = "test"\n'
        )
        self.config = Config.from_text(self.toml)
        self.rotated_to: ProfileConfig | None = None
        self.origin = Origin(self.config.origins[0], reread=lambda: self.rotated_to)
        self.settings = PublishSettings(self.config.transfer, self.state, connections_max=2, part_bytes=PART_BYTES)
        self.seen: list[tuple[str, int, int]] = []

    def file(self, data_bytes: int = 12 * MIB, seed: str = "", name: str = "a.safetensors") -> tuple[Path, bytes]:
        path = self.folder / name
        return path, safetensors_file(path, data_bytes, seed)

    def push(
        self, path: Path, key: str = KEY, *, settings: PublishSettings | None = None, others: Any = tuple, **request: Any
    ) -> Published:
        def show(what: str, done: int, total: int) -> None:
            self.seen.append((what, done, total))

        return publish(self.origin, PublishRequest(path, key, **request), settings or self.settings, others=others, show=show)

    def fails(self, kind: type[ModelStreamError], path: Path, key: str = KEY, **request: Any) -> ModelStreamError:
        with pytest.raises(kind) as caught:
            self.push(path, key, **request)
        error = caught.value
        explains_itself(error, error.subject or key, self.secrets)
        error.__context__ = None  # frames that hold the origin and that one's sockets
        return error.with_traceback(None)

    def stored(self, key: str = KEY) -> bytes:
        body: bytes = self.direct.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def exists(self, key: str = KEY) -> bool:
        return any(row["Key"] == key for row in self.direct.list_objects_v2(Bucket=self.bucket).get("Contents", ()))

    def pending(self) -> list[str]:
        return [row["Key"] for row in self.direct.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]

    def journals(self) -> list[Path]:
        return sorted((self.state / "uploads").glob("*"))

    def nothing_is_left(self) -> None:
        """No parts that somebody pays for, no journal."""
        assert self.pending() == []
        assert self.journals() == []

    def put_requests(self) -> int:
        return len(self.proxy.requests("PUT"))

    def listed(self) -> Any:
        return [obj for page in self.origin.list_pages() for obj in page]

    def with_settings(self, **changes: Any) -> PublishSettings:
        return replace(self.settings, **changes)

    def close(self) -> None:
        for row in self.direct.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()):
            Bucket(self.origin).abort(row["Key"], row["UploadId"])
        self.direct.close()
        with contextlib.suppress(Exception):
            self.origin.control().close()


@contextlib.contextmanager
def publish_rig(seaweed: Any, bucket: str, folder: Path, *, tls: Any = None, **options: Any) -> Iterator[PublishRig]:
    with NothingLeaks(), FaultProxy(seaweed.host, seaweed.port, tls=tls) as proxy:
        rig = PublishRig(seaweed, bucket, proxy, folder, **options)
        try:
            yield rig
        finally:
            proxy.clear()
            rig.close()
            del rig.origin


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
