"""Links between server and client that are the same on every machine.

A loopback of the benchmark's own, and a link of a known rate: the server in a network namespace of its own, a veth pair,
``tbf`` on the server's end.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # sched.h
_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
CONGESTION_CONTROL = "reno"
"""on the benchmark's own loopback.  A machine may be set to BBR, which is made for long ways: its pacing cuts what a server
sends into small pieces by timers, and on a loopback a quarter and more of the server's CPU goes there, whoever the client is"""
MTU = 9000
"""as in data centres; at 1500 the headers alone would take 5 % of the rate"""


class NoLink(RuntimeError):
    """Why there can be no throttled link here."""


@dataclass(frozen=True)
class Link:
    """prefix: put before a command, it runs on the far side; address: where that side listens"""

    prefix: tuple[str, ...]
    address: str
    device: str = ""
    """the near end"""
    far_device: str = ""

    def set_rate(self, rate_mbit: int) -> None:
        """From now on; what is running goes on at the new rate."""
        _run(*self.prefix, "tc", "qdisc", "replace", "dev", self.far_device, "root", *_shape(rate_mbit))

    def received_bytes(self) -> int:
        """What has come over the link so far, headers of all layers included."""
        return int(Path(f"/sys/class/net/{self.device}/statistics/rx_bytes").read_text())


def own_loopback() -> str:
    """Moves this process, and all it starts from now on, into a network namespace that has nothing but a loopback.

    Call it in the main thread, before others are started and after everything that needs the network.
    Returns how the loopback's TCP is now, in words.
    """
    try:
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            raise NoLink("a loopback of its own needs root")
        if shutil.which("ip") is None:
            raise NoLink("a loopback of its own needs ip (iproute2)")
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise NoLink(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        _run("ip", "link", "set", "lo", "up")
        _CONGESTION_CONTROL.write_text(CONGESTION_CONTROL)
    except (NoLink, OSError) as reason:
        return f"the machine's own loopback, congestion control {_congestion_control()} ({reason})"
    return f"a loopback of the benchmark's own, congestion control {_congestion_control()}"


def _congestion_control() -> str:
    return _CONGESTION_CONTROL.read_text().strip() if _CONGESTION_CONTROL.exists() else "unknown"


@contextmanager
def throttled(rate_mbit: int) -> Iterator[Link]:
    """Raises NoLink where namespaces or traffic shaping are not to be had (not root, no iproute2, no kernel support)."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise NoLink("a throttled link needs root")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            raise NoLink(f"a throttled link needs {tool} (iproute2)")
    number = os.getpid() % 16000
    name, near, far = f"msbench{number}", f"msb{number}a", f"msb{number}b"
    first, second = f"10.213.{number // 64}.{number % 64 * 4 + 1}", f"10.213.{number // 64}.{number % 64 * 4 + 2}"
    inside = ("ip", "netns", "exec", name)
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", near, "mtu", str(MTU), "type", "veth", "peer", "name", far, "mtu", str(MTU), "netns", name)
        _run("ip", "addr", "add", f"{first}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        for command in (("addr", "add", f"{second}/30", "dev", far), ("link", "set", far, "up"), ("link", "set", "lo", "up")):
            _run(*inside, "ip", *command)
        _run(*inside, "tc", "qdisc", "add", "dev", far, "root", *_shape(rate_mbit))
        yield Link(inside, second, near, far)
    finally:
        subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)
        subprocess.run(("ip", "link", "del", near), check=False, capture_output=True)


def _shape(rate_mbit: int) -> tuple[str, ...]:
    """tbf can send no faster than its burst allows between two ticks of the timer: a millisecond of the rate, at least 512 KB"""
    return ("tbf", "rate", f"{rate_mbit}mbit", "burst", f"{max(512, rate_mbit // 8)}kb", "latency", "100ms")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoLink(f"{' '.join(command[:4])} …: {done.stderr.strip()}")
