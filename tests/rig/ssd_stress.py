"""A process that does anything to an SSD directory that it shares with others, in two threads, and says each thing it did.

python -m rig.ssd_stress ROOT SEED OPERATIONS
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from modelstream.storage.errors import DiskFailed, NoRoom, TransferCancelled
from rig.ssd_parts import CHUNK, content, empty, remote, store, tier

OBJECTS = [remote(f"{n}.safetensors", (n + 1) * CHUNK + n) for n in range(5)]
BUDGET = 9 * CHUNK
"""fewer than half of them"""


def one_thing(ssd: Any, choose: random.Random) -> None:
    obj, what = choose.choice(OBJECTS), choose.choice(("bring", "bring", "read", "read", "read", "evict", "sweep"))
    if what == "bring":
        with ssd.flight(obj, lambda done: None, lambda: False):
            if ssd.lookup(obj) is None:
                store(ssd, obj)
    elif what == "read":
        lease = ssd.lease(obj)
        if lease is not None:
            with lease:
                view = empty(obj.size_bytes)
                ssd.read_into(lease, view)
                assert bytes(view) == content(obj), "wrong bytes"
    elif what == "evict":
        ssd.let_go(obj.id.digest)
    else:
        ssd.sweep()


def main(root: Path, seed: int, operations: int) -> None:
    wrong: list[BaseException] = []

    def work(ssd: Any, choose: random.Random) -> None:
        try:
            for _ in range(operations):
                try:
                    one_thing(ssd, choose)
                except (NoRoom, DiskFailed, TransferCancelled):
                    pass  # another one took it, or the room: an error of the family is an answer
                os.write(1, b".")
        except BaseException as error:
            wrong.append(error)

    with tier(root, budget_bytes=BUDGET) as ssd:
        threads = [threading.Thread(target=work, args=(ssd, random.Random(f"{seed} {n}"))) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if wrong:
        raise wrong[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
