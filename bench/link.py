"""A link of a known rate: the server in a network namespace of its own, a veth pair, ``tbf`` on the server's end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MTU = 9000
"""as in data centres; at 1500 the headers alone would take 5 % of the rate"""


class NoLink(RuntimeError):
    """Why there can be no throttled link here."""


@dataclass(frozen=True)
class Link:
    """prefix: put before a command, it runs on the far side; address: where that side listens"""

    prefix: tuple[str, ...]
    address: str


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
        shape = ("tbf", "rate", f"{rate_mbit}mbit", "burst", "512kb", "latency", "100ms")
        _run(*inside, "tc", "qdisc", "add", "dev", far, "root", *shape)
        yield Link(inside, second)
    finally:
        subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)
        subprocess.run(("ip", "link", "del", near), check=False, capture_output=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoLink(f"{' '.join(command[:4])} …: {done.stderr.strip()}")
