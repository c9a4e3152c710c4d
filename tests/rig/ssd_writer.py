"""A process that brings one object to the SSD and asks before each call that changes something, so that it can be killed there.

python -m tests.rig.ssd_writer ROOT VERSION memory|file
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from awscrt.checksums import crc64nvme

from modelstream.cache.disk import Disk
from rig.ssd_parts import CHUNK, FailingDisk, aligned, content, extents, head_of, remote, tier

SIZE = 40 * CHUNK + 99


class AskingDisk(Disk):
    def __getattribute__(self, name: str) -> Any:
        if name in FailingDisk.CALLS:
            os.write(1, name.encode() + b"\n")
            os.read(0, 1)
        return super().__getattribute__(name)


def main(root: Path, version: str, mode: str) -> None:
    obj = remote(size_bytes=SIZE, version=version)
    body = content(obj)
    with tier(root, disk=AskingDisk()) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing() if mode == "file" else aligned(bytes(SIZE))
        done = partial.resume_into(view)
        assert mode == "file" or all(bytes(view[e.offset : e.end]) == body[e.offset : e.end] for e in done), "resumed bytes are wrong"
        os.write(1, b"resumed %d\n" % len(done))
        for extent in extents(body, CHUNK // 2):
            if not any(e.offset <= extent.offset < e.end for e in done):
                view[extent.offset : extent.end] = body[extent.offset : extent.end]
                partial.landed(extent) if mode == "file" else partial.write_behind(view, extent)
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body
    os.write(1, b"finished\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
