"""Receives a URL at a rate, into memory that is there, and does nothing with it: ``python -m bench.receiver URL BYTES_PER_S``."""

from __future__ import annotations

import sys
import time
from urllib.parse import urlsplit

PIECE = 512 << 10


def main(url: str, rate_bytes_per_s: float) -> None:
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    view, got, began_s = memoryview(bytearray(PIECE)), 0, time.monotonic()
    while count := answer.readinto(view):
        got += count
        ahead_s = got / rate_bytes_per_s - (time.monotonic() - began_s)
        if ahead_s > 0:
            time.sleep(ahead_s)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
