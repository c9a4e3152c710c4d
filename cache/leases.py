"""Lease files: "this process uses that entry", for the other processes on the same disk.

    <root>/leases/<digest>.<owner>      empty

Best effort (a read-only directory has none) and never needed for correctness: an evicted file that is open
stays readable.  The order makes it exact where it works: a reader makes its lease file *before* it looks for
the entry; an evictor renames the entry away and *then* looks for leases, putting it back if there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .disk import Disk
from .owners import Owners
from .paths import Layout


class LeaseFiles:
    """Any thread."""

    def __init__(self, disk: Disk, layout: Layout, owners: Owners, clock: Callable[[], float] = time.time) -> None:
        self._disk = disk
        self._layout = layout
        self._owners = owners
        self._clock = clock

    def make(self, digest: str) -> str:
        """The name to give to `drop`; empty where none could be made."""
        name = f"{digest}.{self._owners.mine()}"
        try:
            self._disk.close(self._disk.create(self._layout.leases / name))
        except OSError:
            return ""  # read-only or full: other processes may evict the entry under us, which readers survive
        return name

    def drop(self, name: str) -> None:
        if name:
            try:
                self._disk.unlink(self._layout.leases / name)
            except OSError:
                pass  # it expires with this process

    def live(self) -> set[str]:
        """Digests that a live process has a lease on, this one included; files of dead ones are removed."""
        digests = set()
        for entry in self._disk.entries(self._layout.leases):
            digest, _, owner = entry.name.partition(".")
            try:
                quiet_s = self._clock() - entry.stat(follow_symlinks=False).st_mtime
            except OSError:
                continue
            if self._owners.is_dead(owner, quiet_s):
                self.drop(entry.name)
            else:
                digests.add(digest)
        return digests
