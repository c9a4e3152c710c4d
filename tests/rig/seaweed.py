"""A real S3 server for tests, the demo and benchmarks: SeaweedFS in one process, on loopback, hardened.

Hardened means: generated keys (without any, SeaweedFS accepts everybody), the unauthenticated filer and master HTTP
off, no telemetry, no admin page.  Every port is picked free, so several instances can run at once.  Whatever
happens, ``stop`` ends the whole process group and removes the data.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .processes import HOST, ServerFailed, end_group, free_ports, last_lines, program

START_S = 30.0
STOP = ((signal.SIGTERM, 5.0),)
_PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_FIXED_FLAGS = (
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    "-disableHttp",
    "-master.telemetry=false",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
)


class Seaweed:
    """One server with one bucket.  ``start`` and ``stop`` are idempotent; use it as a context manager.

    identities:        an S3 identities table as SeaweedFS reads it, for least-privilege tests; the admin is added to it
    policies:          what the identities' policyNames name: documents as AWS has them
    memory_limit_mib:  a soft limit for the server's heap (Go's GOMEMLIMIT); None lets it run at full speed
    extra:             further command line flags
    prefix:            a command put in front ("taskset -c 1"), for benchmarks
    """

    def __init__(
        self,
        *,
        bucket: str = "models",
        identities: list[dict[str, Any]] | None = None,
        policies: list[dict[str, Any]] | None = None,
        memory_limit_mib: int | None = 300,
        extra: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.host, self.port, self.bucket = HOST, 0, bucket
        self.access_key = "AKIA" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_hex(20)
        self._policies = policies or []
        self._identities, self._memory_limit_mib, self._extra, self._prefix = identities, memory_limit_mib, extra, prefix
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    url = endpoint

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def client(self, url: str | None = None, **options: Any) -> Any:
        """A boto3 client with the admin's keys; ``url`` when it has to go through a proxy."""
        import boto3
        from botocore.config import Config

        options.setdefault("config", Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3, "mode": "standard"}))
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=url or self.endpoint, region_name="us-east-1", **{**keys, **options})

    def start(self, attempts: int = 3) -> Seaweed:
        if self._process is not None:
            return self
        atexit.register(self.stop)
        for attempt in range(attempts):
            try:
                self._launch()
                self._wait_ready()
                return self
            except ServerFailed:
                # Between picking a free port and binding it somebody else may have taken it.
                self.stop()
                if attempt == attempts - 1:
                    raise
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            end_group(process, STOP)
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for port in self._ports.values():
            # SeaweedFS puts its own gRPC sockets there and leaves them when it is killed.
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def log_tail(self, lines: int = 30) -> str:
        return "" if self._folder is None else last_lines(self._folder / "weed.log", lines)

    def config_toml(self, *, bucket: str | None = None, url: str | None = None, more: str = "") -> str:
        """Model Stream's configuration for this server; ``more`` is appended as it is."""
        return (
            f'[profiles.seaweed]\nendpoint = "{url or self.endpoint}"\nallow_http = true\n'
            f'access_key_id = "{self.access_key}"\nsecret_access_key = "{self.secret_key}"\n\n'
            f'[[origins]]\nname = "bucket"\nbucket = "{bucket or self.bucket}"\nprofile = "seaweed"\n\n{more}'
        )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The server hangs: connections are accepted by the kernel and nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def __enter__(self) -> Seaweed:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="modelstream-weed-"))
        data = self._folder / "data"
        data.mkdir()
        self._ports = dict(zip(_PORT_FLAGS, free_ports(len(_PORT_FLAGS)), strict=True))
        self.port = self._ports["s3.port"]
        command = [*self._prefix, program("weed"), "mini", f"-dir={data}", f"-bucket={self.bucket}", *_FIXED_FLAGS, *self._extra]
        command += [f"-{flag}={port}" for flag, port in self._ports.items()]
        command += [f"-{part}.localSocket={self._folder / part}.sock" for part in ("s3", "filer")]
        if self._identities is not None:
            command.append(f"-s3.config={self._write_identities(self._folder)}")
        with (self._folder / "weed.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        limit = {} if self._memory_limit_mib is None else {"GOMEMLIMIT": f"{self._memory_limit_mib}MiB", "GOGC": "30"}
        return {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), **keys, **limit}

    def _write_identities(self, folder: Path) -> Path:
        admin = {
            "name": "admin",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        path = folder / "identities.json"
        path.touch(0o600)
        path.write_text(json.dumps({"identities": [admin, *(self._identities or [])], "policies": self._policies}))
        return path

    def _wait_ready(self) -> None:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        assert self._process is not None
        once = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
        client, pause, deadline = self.client(config=once), threading.Event(), time.monotonic() + START_S
        try:
            while True:
                try:
                    # The port answers before the bucket exists, so this is what ready means.
                    client.head_bucket(Bucket=self.bucket)
                    return
                except (BotoCoreError, ClientError) as error:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise ServerFailed(f"SeaweedFS did not come up: {error}\n{self.log_tail()}") from None
                pause.wait(0.1)
        finally:
            client.close()
