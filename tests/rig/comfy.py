"""The real ComfyUI, as a server of its own on loopback, with this extension in its custom_nodes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .checkpoints import ROOT, comfyui_path
from .listener import Listener
from .processes import HOST, ServerFailed, end_group, free_ports, last_lines
from .workflows import Graph

START_S = 180.0
STOP = ((signal.SIGINT, 8.0), (signal.SIGTERM, 3.0))
"""SIGINT is a user's Ctrl-C: exit handlers run"""
NOT_COPIED = shutil.ignore_patterns(".*", "tests", "bench", "__pycache__", "*.egg-info")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(RuntimeError):
    """ComfyUI answered with an error status."""

    def __init__(self, path: str, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"{path}: HTTP {answer.status} {answer.body[:2000].decode('utf-8', 'replace')}")


@dataclass(frozen=True)
class Run:
    """A finished prompt, from its history entry.

    state:  "success", "error" or "interrupted"
    error:  the values of ComfyUI's execution_error message: node_id, node_type, exception_type, exception_message, ...
    """

    prompt_id: str
    state: str
    outputs: Mapping[str, Any]
    messages: tuple[tuple[str, dict[str, Any]], ...]
    images: tuple[Path, ...]
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cached(self) -> frozenset[str]:
        """Nodes that ComfyUI served from its own cache instead of running them."""
        return frozenset(n for kind, values in self.messages if kind == "execution_cached" for n in values["nodes"])

    def expect(self, state: str = "success") -> Run:
        assert self.state == state, f"the prompt ended as {self.state}: {dict(self.error) or self.messages}"
        return self


class ComfyServer:
    """One ComfyUI with a base directory of its own and no models.  Use it as a context manager.

    config:       our config.toml, written with mode 0600 to where the extension looks for it
    folder_name:  what the extension's folder is called in custom_nodes; None leaves the extension out
    copy:         copy the extension instead of linking to it, as a user would
    models:       local model files, {"checkpoints/tiny.safetensors": path}
    prefix:       a command put in front ("taskset -c 1"), for benchmarks
    """

    def __init__(
        self,
        *,
        config: str | None = None,
        folder_name: str | None = "model-stream",
        copy: bool = False,
        models: Mapping[str, Path] | None = None,
        args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        base: Path | None = None,
    ) -> None:
        self._own_base = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="modelstream-comfy-"))
        self.port = 0
        self.client_id = uuid.uuid4().hex
        self.listener: Listener | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._args, self._environment, self._prefix = tuple(args), dict(environment or {}), tuple(prefix)
        for name in ("models", "custom_nodes", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        if config is not None:
            self.write_config(config)
        for key, path in (models or {}).items():
            self.add_model(key, path)
        if folder_name is not None:
            self._add_extension(folder_name, copy)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def config_path(self) -> Path:
        knows_system_directories = "def get_system_user_directory" in (comfyui_path() / "folder_paths.py").read_text("utf-8")
        return self.base / "user" / ("__modelstream" if knows_system_directories else "modelstream") / "config.toml"

    @property
    def pid(self) -> int:
        assert self._process is not None, "ComfyUI is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write_config(self, text: str) -> None:
        self.config_path.parent.mkdir(parents=True, exist_ok=True)
        self.config_path.touch(0o600)
        self.config_path.chmod(0o600)
        self.config_path.write_text(text, "utf-8")

    def add_model(self, key: str, path: Path) -> None:
        target = self.base / "models" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path)
        except OSError:
            shutil.copy(path, target)

    def start(self, port: int | None = None) -> ComfyServer:
        """port: the one of before, where a browser is to find it again"""
        if self._process is not None:
            return self
        self.port = port or free_ports(1)[0]
        command = [*self._prefix, sys.executable, str(comfyui_path() / "main.py"), "--cpu", "--listen", HOST, "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--disable-auto-launch", "--disable-api-nodes"]
        command += ["--database-url", f"sqlite:///{self.base / 'comfyui.db'}", *self._args]
        try:
            with (self.base / "comfyui.log").open("ab") as log:
                streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                self._process = subprocess.Popen(command, cwd=self.base, env=self._full_environment(), start_new_session=True, **streams)
            self._wait_ready()
            self.listener = Listener(f"ws://{HOST}:{self.port}/ws?clientId={self.client_id}").start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends ComfyUI; its base directory goes too when it was made here."""
        self.halt()
        if self._own_base:
            shutil.rmtree(self.base, ignore_errors=True)

    def halt(self, *, kill: bool = False) -> None:
        """Ends ComfyUI and keeps its base directory, for another ``start``."""
        listener, self.listener = self.listener, None
        process, self._process = self._process, None
        if process is not None:
            end_group(process, () if kill else STOP)
        if listener is not None:
            listener.stop()

    def __enter__(self) -> ComfyServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self) -> str:
        return (self.base / "comfyui.log").read_text("utf-8", "replace")

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = 60) -> Answer:
        """Any status is an answer.  ``body``: bytes as they are, anything else as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path: str, **query: str) -> Any:
        return self._checked("GET", path + ("?" + urlencode(query) if query else ""), None)

    def post(self, path: str, body: Any = None) -> Any:
        return self._checked("POST", path, {} if body is None else body)

    def choices(self, class_type: str, name: str) -> list[str]:
        """The dropdown of a node's input, as the browser gets it."""
        spec = self.get(f"/object_info/{class_type}")[class_type]["input"]
        kind, *options = ({**spec.get("required", {}), **spec.get("optional", {})})[name]
        return kind if isinstance(kind, list) else options[0]["options"]

    def submit(self, graph: Graph) -> str:
        return self.post("/prompt", {"prompt": graph, "client_id": self.client_id})["prompt_id"]

    def wait(self, prompt_id: str, timeout_s: float = 300, watching: Callable[[], None] | None = None) -> Run:
        """The finished prompt; ``watching`` is called about ten times a second until then."""
        deadline, pause = time.monotonic() + timeout_s, threading.Event()
        while not (entry := self.get(f"/history/{prompt_id}").get(prompt_id)):
            if time.monotonic() > deadline:
                raise ServerFailed(f"the prompt did not end within {timeout_s} s\n{self._log_tail()}")
            if watching:
                watching()
            pause.wait(0.1 if watching else 0.02)
        return self._run(prompt_id, entry)

    def prompt(self, graph: Graph, timeout_s: float = 300) -> Run:
        return self.wait(self.submit(graph), timeout_s)

    def interrupt(self) -> None:
        self.post("/interrupt")

    def _checked(self, method: str, path: str, body: Any) -> Any:
        answer = self.request(method, path, body)
        if answer.status >= 400:
            raise Refused(path, answer)
        return answer.json() if answer.body else None

    def _run(self, prompt_id: str, entry: Mapping[str, Any]) -> Run:
        messages = tuple((kind, values) for kind, values in entry["status"]["messages"])
        by_kind = dict(messages)
        state = "interrupted" if "execution_interrupted" in by_kind else entry["status"]["status_str"]
        shown = [i for output in entry["outputs"].values() for i in output.get("images", ())]
        images = tuple(self.base / i["type"] / i["subfolder"] / i["filename"] for i in shown)
        return Run(prompt_id, state, entry["outputs"], messages, images, by_kind.get("execution_error", {}))

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline, pause = time.monotonic() + START_S, threading.Event()
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/system_stats", timeout_s=10).status == 200:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"ComfyUI did not come up\n{self._log_tail()}")
            pause.wait(0.1)

    def _log_tail(self) -> str:
        return last_lines(self.base / "comfyui.log")

    def _full_environment(self) -> dict[str, str]:
        """This process's environment, without what would reach a real bucket or another configuration."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MODELSTREAM_"))}
        return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **self._environment}

    def _add_extension(self, folder_name: str, copy: bool) -> None:
        target = self.base / "custom_nodes" / folder_name
        if target.is_symlink() or target.exists():
            return
        if not copy:
            with contextlib.suppress(OSError):  # Windows without the privilege
                target.symlink_to(ROOT, target_is_directory=True)
                return
        shutil.copytree(ROOT, target, ignore=NOT_COPIED)
