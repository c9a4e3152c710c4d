"""Our routes that change something, called as the panel calls them."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .comfy import ComfyServer, Refused

TOKEN_HEADER = "X-Model-Stream-Token"


def change(server: ComfyServer, route: str, **body: Any) -> Any:
    headers = {TOKEN_HEADER: server.get("/modelstream/token")["token"], "Content-Type": "application/json"}
    path = f"/modelstream/{route}"
    answer = server.request("POST", path, json.dumps(body).encode(), headers)
    if answer.status >= 400:
        raise Refused(path, answer)
    return answer.json()


def upload_variant(s3: Any, path: Path, bucket: str, key: str, number: int) -> None:
    """The file under another key and with other weights: objects of the same bytes are kept once."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copy(path, scratch))
        with copy.open("r+b") as file:
            file.seek(-4, 2)
            file.write(number.to_bytes(2, "little"))
        s3.upload_file(str(copy), bucket, key)


def row_of(server: ComfyServer, folder: str, name: str) -> dict[str, Any]:
    """The row of the models table."""
    rows = server.get("/modelstream/models", folder=folder, filter=name, limit="1000")["rows"]
    return next(row for row in rows if row["name"] == name)


def wait_until(holds: Callable[[], bool], what: str, within_s: float = 120.0) -> None:
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        pause.wait(0.1)


def is_idle(server: ComfyServer) -> bool:
    return not server.get("/modelstream/status")["transfers"] and not server.get("/queue")["queue_running"]
