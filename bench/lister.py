"""A bucket of 100,000 objects that answers listings only: ``python -m bench.lister COUNT`` prints its port and serves.

Uploading so many objects would take minutes and test nothing; what counts is that the catalog reads real pages of real
XML through boto3.
"""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from urllib.parse import parse_qs, urlsplit

from .processes import ROOT, environment

BUCKET = "large"

CONFIG = """
[catalog]
refresh_s = 0
[profiles.large]
endpoint = "{large}"
access_key_id = "AKIABENCHBENCHBENCH0"
secret_access_key = "not-a-secret-of-anybody"
[profiles.near]
endpoint = "{near}"
access_key_id = "{access_key}"
secret_access_key = "{secret_key}"
[[origins]]
name = "near"
bucket = "{bucket}"
profile = "near"
[[origins]]
name = "large"
bucket = "{large_bucket}"
profile = "large"
"""
"""a near bucket for what is loaded, and the large one beside it: to be formatted"""
PAGE = 1000
PREFIX = "checkpoints/"
_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def key_of(number: int) -> str:
    return f"{PREFIX}family-{number // 500:04d}/model-{number:06d}.safetensors"


@cache
def page(start: int, count: int) -> bytes:
    end = min(start + PAGE, count)
    entries = "".join(_ENTRY.format(key=key_of(n), number=n + 1, size=1000 + n) for n in range(start, end))
    more = end < count
    token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
    head = f"<Name>{BUCKET}</Name><KeyCount>{end - start}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
    text = f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>{head}{token}{entries}</ListBucketResult>'
    return text.encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query).get("continuation-token", ["0"])[0]
        body = page(int(token), self.count)
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def lister(count: int, *, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """The endpoint of a running one."""
    command = [*prefix, sys.executable, "-m", "bench.lister", str(count)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    Handler.count = int(sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
