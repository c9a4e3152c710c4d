"""Debian's Prometheus, scraping one ComfyUI as fast as it can, with our alert rules."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .invariants import eventually
from .processes import HOST, end_group, free_ports, last_lines

PROGRAM = shutil.which("prometheus")
CHECKER = shutil.which("promtool")


class Prometheus:
    """A context manager; ``target`` is host:port of the ComfyUI that it reads."""

    def __init__(self, target: str, rules: Path, *, path: str = "/modelstream/metrics") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelstream-prometheus-"))
        (self.port,) = free_ports(1)
        job = {"job_name": "comfyui", "metrics_path": path, "scrape_interval": "1s", "scrape_timeout": "1s"}
        job["static_configs"] = [{"targets": [target]}]  # type: ignore[assignment]
        config = {"global": {"evaluation_interval": "1s"}, "scrape_configs": [job], "rule_files": [str(rules)]}
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML

    def __enter__(self) -> Prometheus:
        assert PROGRAM is not None
        args = [f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        with open(self.folder / "log", "wb") as log:
            command = [PROGRAM, *args, f"--web.listen-address={HOST}:{self.port}"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if not eventually(self._answers, 30):
            self.__exit__()
            raise RuntimeError("Prometheus did not come up\n" + last_lines(self.folder / "log"))
        return self

    def __exit__(self, *_: object) -> None:
        import signal

        end_group(self._process, ((signal.SIGTERM, 10.0),))
        shutil.rmtree(self.folder, ignore_errors=True)

    def query(self, expression: str) -> list[Any]:
        """The rows of an instant query.  Raises ValueError with Prometheus's own words."""
        answer = self._get("/api/v1/query?" + urlencode({"query": expression}))
        if answer["status"] != "success":
            raise ValueError(f"{answer.get('error')}: {expression}")
        return answer["data"]["result"]

    def targets(self) -> list[dict[str, Any]]:
        return self._get("/api/v1/targets")["data"]["activeTargets"]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return bool(self._get("/api/v1/targets"))
        except (OSError, ValueError, http.client.HTTPException):
            return False
