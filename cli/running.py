"""Asking a running ComfyUI, by its routes: what only that process knows or has, its RAM tier above all.

With the owner's admin token where the environment has one.  To change something the process's own token is fetched first, as
docs/routes.md says.
"""

from __future__ import annotations

import argparse
import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..storage import environment
from ..storage.errors import ConfigError, OriginUnreachable

SERVER = "http://127.0.0.1:8188"
TIMEOUT_S = 300
ANSWER_MOST = 4 << 20


def add_server_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", default=SERVER, metavar="URL", help=f"the running ComfyUI (default: {SERVER})")


class Running:
    """One running ComfyUI.  Every method raises ConfigError and OriginUnreachable."""

    def __init__(self, server: str) -> None:
        self._parts = urlsplit(server)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise ConfigError("the server is no http address", next_step=f"write it like {SERVER}")
        self._token = ""

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """(status, answer); the path with its query."""
        return self._ask("GET", path, None, {})

    def change(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a route that changes something; a refusal becomes a ConfigError with the server's words."""
        for again in (True, False):
            if not self._token:
                self._token = str(self._wanted(*self.get("/modelstream/token")).get("token", ""))
            headers = {"X-Model-Stream-Token": self._token, "Content-Type": "application/json"}
            status, answer = self._ask("POST", path, json.dumps(body).encode(), headers)
            if again and status == 403 and answer.get("error") == "token":  # it was restarted meanwhile
                self._token = ""
                continue
            break
        return self._wanted(status, answer)

    def read(self, path: str) -> dict[str, Any]:
        """The answer of a route that only shows."""
        return self._wanted(*self.get(path))

    @staticmethod
    def _wanted(status: int, answer: dict[str, Any]) -> dict[str, Any]:
        if status >= 400:
            step = "set MODELSTREAM_ADMIN_TOKEN to the token that ComfyUI was started with" if answer.get("error") == "admin_token" else ""
            raise ConfigError("the running ComfyUI refuses", cause=str(answer.get("message", f"status {status}")), next_step=step)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        parts = self._parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        token = environment.admin_token()
        admin = {"Authorization": f"Bearer {token}"} if token else {}
        connection = kind(str(parts.hostname), parts.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, {**headers, **admin})
            response = connection.getresponse()
            answer = json.loads(response.read(ANSWER_MOST))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OriginUnreachable(
                "the running ComfyUI did not answer", cause=type(error).__name__, next_step="start it, or name another with --server"
            ) from error
        finally:
            connection.close()
        return response.status, answer if isinstance(answer, dict) else {}
