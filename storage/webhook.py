"""Posts one JSON document to the address that the owner's configuration names, and to no other.

One connection a post, redirects are not followed, the answer's body is not read.  Blocks: for a thread that nobody waits for.
"""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

from .wire import Address, Connection, ConnectionShut

USER_AGENT = "model-stream"


class WebhookFailed(Exception):
    """``code``: a status ("http_503") or an exception's name.  Never holds the address, which is often a secret."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class Webhook:
    """``address``: checked by the configuration."""

    def __init__(self, address: str, timeout_s: float) -> None:
        url = urlsplit(address)
        tls = url.scheme == "https"
        self._address = Address(tls, url.hostname or "", url.port or (443 if tls else 80))
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._host = url.netloc
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None

    def post(self, body: bytes) -> None:
        """Raises WebhookFailed."""
        if self._address.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        connection = Connection(self._address, self._tls, connect_timeout_s=self._timeout_s, read_timeout_s=self._timeout_s)
        headers = {"Host": self._host, "Content-Type": "application/json", "User-Agent": USER_AGENT, "Connection": "close"}
        try:
            status = connection.ask("POST", self._target, headers, body).status
        except (OSError, http.client.HTTPException, ConnectionShut) as error:
            raise WebhookFailed(type(error).__name__) from None
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise WebhookFailed(f"http_{status}")
