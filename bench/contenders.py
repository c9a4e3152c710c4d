"""Who takes part in ``bench cold``, with which settings.

Every peer runs at its default and at a few settings that its documentation or our own sweeps found good; after the
first repetition its default and its fastest setting go on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .peers import PEERS, install


@dataclass(frozen=True)
class Contender:
    """always: takes part in every repetition, however slow the first one was (defaults, and ours)"""

    client: str
    setting: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    always: bool = False
    python: str = sys.executable
    missing: str = ""


def contenders(situation: str, *, quick: bool) -> list[Contender]:
    """For one situation; peers are installed on the way."""
    name = situation.removesuffix("-unpinned")
    everybody = [*ours(name, quick), *limits(name, quick), *(_installed(c) for c in peers(name, quick))]
    if situation.endswith("-unpinned"):
        return [c for c in everybody if (c.client, c.setting) in UNPINNED]
    return everybody


UNPINNED = {
    *((client, "default") for client in ("Model Stream", "Run:ai", "s5cmd", "rclone")),
    *(("raw socket", f"{n} connections") for n in (2, 4)),
    *(("Run:ai", f"{n} x 16 MiB") for n in (1, 2, 4)),
    ("s5cmd", "8 x 16, tmpfs"),
    ("rclone", "8 streams, tmpfs"),
}
"""on all cores: who was fast when pinned"""


def ours(name: str, quick: bool) -> list[Contender]:
    found = [Contender("Model Stream", "default", always=True)]
    if name in ("warm", "fresh") and not quick:
        found.append(Contender("Model Stream", "no SSD", {"ssd": False}, always=True))
    return found


def limits(name: str, quick: bool) -> list[Contender]:
    counts = (2, 4) if quick else (1, 2, 4, 8)
    found = [Contender("raw socket", f"{n} connections", {"connections": n}) for n in counts]
    if name == "warm":
        found.append(Contender("memcpy", "one thread", always=True))
    return found


def peers(name: str, quick: bool) -> list[Contender]:
    if name == "throttled":
        wanted = [_runai(1, 16), _s5cmd("8 x 16", best=True), _s5cmd("8 x 16", memory=True), _boto3(16, 8)]
        return wanted[:2] if quick else wanted
    if name == "several":
        wanted = [_runai(1, 16), _runai(2, 16), _s5cmd("8 x 16", memory=True), _boto3(16, 8, memory=True)]
        return wanted[:1] if quick else wanted
    if quick:
        return [_runai(1, 16), _s5cmd("8 x 16", memory=True), Contender("boto3", "default", always=True)]
    return [
        Contender("Run:ai", "default", environ=_RUNAI, always=True),
        _runai(1, 8),
        _runai(1, 16),
        _runai(2, 16),
        _runai(4, 16),
        _s5cmd("default"),
        _s5cmd("default", memory=True),
        _s5cmd("8 x 16", best=True),
        _s5cmd("8 x 16", memory=True),
        _rclone("default"),
        _rclone("8 streams", memory=True),
        _rclone("8 streams"),
        Contender("boto3", "default", always=True),
        _boto3(16, 8),
        _boto3(16, 8, memory=True),
        Contender("boto3", "CRT, tmpfs", {"crt": True, "memory": True}, missing="boto3's CRT client speaks TLS only, this server is plain"),
        Contender("obstore", "default", always=True),
        Contender("obstore", "8 x 16 MiB", {"threads": 8, "mib": 16}),
        Contender("obstore", "2 x 16 MiB", {"threads": 2, "mib": 16}),
        Contender("tensorizer", "default", always=True),
        Contender("tensorizer", "8 readers", {"readers": 8}),
    ]


_RUNAI = {"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0", "AWS_EC2_METADATA_DISABLED": "true"}


def _runai(concurrency: int, mib: int) -> Contender:
    environ = {"RUNAI_STREAMER_CONCURRENCY": str(concurrency), "RUNAI_STREAMER_CHUNK_BYTESIZE": str(mib << 20)}
    return Contender("Run:ai", f"{concurrency} x {mib} MiB", environ={**_RUNAI, **environ})


def _s5cmd(setting: str, *, memory: bool = False, best: bool = False) -> Contender:
    flags = [] if setting == "default" else ["-c", "8", "-p", "16"]
    return Contender("s5cmd", setting + (", tmpfs" if memory else ""), {"flags": flags, "memory": memory}, always=best or not flags)


def _rclone(setting: str, *, memory: bool = False) -> Contender:
    flags = [] if setting == "default" else ["--multi-thread-streams", "8", "--multi-thread-cutoff", "32M"]
    return Contender("rclone", setting + (", tmpfs" if memory else ""), {"flags": flags, "memory": memory}, always=not flags)


def _boto3(mib: int, threads: int, *, memory: bool = False) -> Contender:
    options = {"mib": mib, "threads": threads, "memory": memory}
    return Contender("boto3", f"{threads} x {mib} MiB" + (", tmpfs" if memory else ""), options)


_INSTALLED: dict[str, Any] = {}


def _installed(one: Contender) -> Contender:
    if one.client not in _INSTALLED:
        assert one.client in PEERS
        _INSTALLED[one.client] = install(one.client)
    found = _INSTALLED[one.client]
    options = {**one.options, "program": found.program} if found.program else one.options
    return replace(one, python=found.python, options=options, missing=one.missing or found.missing)
