"""A process that can be killed: imports everything once, then forks one loader for every line on its input.

    python -m rig.loader_process CONFIG.toml SSD KEY

A line is "load", "load LIMIT" (RLIMIT_NOFILE in the fork) or "hold": that loader does not end by itself, so that its
process id stays its own until it is killed.  It answers with one JSON line each: ``{"pid": …}`` when a
loader starts, what the loader found (``{"sha256", "source", "wire_bytes"}`` or ``{"error", "message"}``), and
``{"ended": STATUS}``; the middle one is missing when the loader was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
from pathlib import Path


def say(**fields: object) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


def load(toml: str, ssd: Path, key: str) -> None:
    from modelstream.storage.errors import ModelStreamError
    from rig.whole_cache import open_parts

    parts = open_parts(toml, ssd)
    try:
        obj = next(o for page in parts.origin.list_pages() for o in page if o.id.key == key)
        opened = parts.cache.open_tensors(obj)
        digest = hashlib.sha256(memoryview(opened.buffer).cast("B")[: opened.size_bytes]).hexdigest()
        source, wire_bytes = opened.source, opened.wire_bytes
        opened.close()
        say(sha256=digest, source=source, wire_bytes=wire_bytes)
    except ModelStreamError as error:
        say(error=type(error).__name__, message=str(error))
    finally:
        parts.close()


def main() -> None:
    toml, ssd, key = Path(sys.argv[1]).read_text(), Path(sys.argv[2]), sys.argv[3]
    import torch  # noqa: F401  so that the forks have it

    from rig import whole_cache  # noqa: F401

    say(ready=True)
    for line in sys.stdin:
        hold, limit = line.startswith("hold"), line.split()[1:]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if limit:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit[0]), int(limit[0])))
                load(toml, ssd, key)
                code = 0
                if hold:
                    signal.pause()
            finally:
                os._exit(code)
        say(pid=pid)
        _, status = os.waitpid(pid, 0)
        say(ended=status)


if __name__ == "__main__":
    main()
