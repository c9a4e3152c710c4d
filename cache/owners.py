"""Who a file on the SSD belongs to, and whether that process still lives.

A token is ``<host>-<pid>-<start>-<nonce>``.  Process ids are used again, so the start time goes with them; they
mean nothing in another container or on another machine, so a host tag does too.  An owner elsewhere cannot be
asked: it counts as dead once its file has been quiet for `FOREIGN_QUIET_S`.  A wrong guess is harmless, no byte
is ever trusted for who wrote it (`cache.partial` checks every chunk).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
from pathlib import Path

FOREIGN_QUIET_S = 600.0
NOBODY = "free"

_TOKEN = re.compile(r"([0-9a-z]{1,16})-(\d+)-(\d+)-([0-9a-f]{8})\Z")


class Owners:
    """Tokens of this process, and the judgement on those of others.  Any thread."""

    def mine(self) -> str:
        """A new token of this process; each file gets its own."""
        pid = os.getpid()
        return f"{host_tag()}-{pid}-{start_of(pid) or 0}-{secrets.token_hex(4)}"

    def nobody(self) -> str:
        """A token whose owner is dead from the start: for what a process leaves behind on purpose."""
        return f"{NOBODY}-0-0-{secrets.token_hex(4)}"

    def is_dead(self, token: str, quiet_s: float) -> bool:
        """``quiet_s``: seconds since the owner last touched its file.  What is no token has no owner."""
        match = _TOKEN.match(token)
        if match is None or match.group(1) == NOBODY:
            return True
        if match.group(1) != host_tag():
            return quiet_s > FOREIGN_QUIET_S
        return start_of(int(match.group(2))) != int(match.group(3))


def start_of(pid: int) -> int | None:
    """When the process started, in a unit of its host's own; None when it is gone (or only a zombie is left)."""
    if os.path.isdir("/proc/self"):
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    import psutil

    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.Error:
        return None


@functools.lru_cache(maxsize=1)
def host_tag() -> str:
    """Equal for two processes only if a pid means the same to both: one boot of one machine, one pid namespace."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # no such thing on this system
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
