"""``doctor``: this machine: the SSD's directories, memory for the RAM tier, Python packages."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.errors import ConfigError
from .findings import ERROR, NOTE, OK, WARNING, Finding, failed
from .output import rate_text, size_text
from .places import state_directory

if TYPE_CHECKING:
    from ..storage.config import Config

PART = "machine"
TRIED_BYTES, BLOCK_BYTES = 128 << 20, 8 << 20
NEEDED = {"boto3": "boto3", "awscrt": "awscrt", "psutil": "psutil", "structlog": "structlog", "diskcache": "diskcache", "tqdm": "tqdm"}
OPTIONAL = {
    "torch": ("torch", "comes with ComfyUI; without it only the command line works"),
    "prometheus_client": ("prometheus-client", "without it there is no /modelstream/metrics"),
    "pynvml": ("nvidia-ml-py", "without it the panel shows no GPU figures"),
    "sklearn": ("scikit-learn", "only for prefetch.learned_boosting"),
}


def check_tiers(config: Config, options: argparse.Namespace) -> Iterator[Finding]:
    for directory in config.ssd.all_directories(state_directory(options.comfyui) / "cache"):
        name = "SSD" if len(config.ssd.directories) < 2 else f"SSD {directory.path}"
        if directory.budget_bytes == 0:
            yield Finding(PART, name, NOTE, "budget_gb = 0: no SSD tier")
            continue
        yield from _ssd(name, directory.path, directory.budget_bytes, directory.free_floor_bytes, quick=options.quick)
    for shared in config.ssd.shared:
        readable = os.access(shared, os.R_OK | os.X_OK)
        found = "shared directory can be read" if readable else "the shared directory cannot be read"
        yield Finding(PART, f"SSD {shared}", OK if readable else ERROR, found, "" if readable else "mount it, or take it out of ssd.shared")
    yield _ram(config)


def _ssd(name: str, root: Path, budget_bytes: int | None, floor_bytes: int, *, quick: bool) -> Iterator[Finding]:
    from ..cache.paths import refuse_unsafe

    there = root
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        if there == root:
            refuse_unsafe(root)
    except ConfigError as error:
        yield failed(PART, name, error)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        step = "give it to the user that runs ComfyUI, or set ssd.directory"
        yield Finding(PART, name, ERROR, f"{there.name or there} cannot be written to", step)
        return
    free_bytes = shutil.disk_usage(there).free
    above_bytes = free_bytes - floor_bytes
    budget = "" if budget_bytes is None else f", budget {size_text(budget_bytes)}"
    found = f"{size_text(free_bytes)} free, of which {size_text(floor_bytes)} stay free{budget}"
    status, step = OK, ""
    if above_bytes <= 0:
        status, step = WARNING, "free space on that disk, or lower ssd.free_floor_gb: nothing new is kept there"
    elif budget_bytes is not None and budget_bytes > above_bytes + _used_bytes(root):
        status, step = NOTE, "ssd.budget_gb is more than the disk has; the floor decides"
    yield Finding(PART, name, status, found, step, {"free_bytes": free_bytes, "floor_bytes": floor_bytes, "budget_bytes": budget_bytes})
    if not quick and free_bytes > 4 * TRIED_BYTES:
        yield _disk_rate(name, there)


def _used_bytes(root: Path) -> int:
    from ..cache.disk import Disk
    from ..cache.entries import Entries
    from ..cache.owners import Owners
    from ..cache.paths import Layout

    return sum(found.size_bytes for found in Entries(Disk(), Layout(root), Owners()).walk())


def _disk_rate(name: str, folder: Path) -> Finding:
    """128 MiB written with fsync and read past the page cache, in a file that is gone afterwards."""
    direct = getattr(os, "O_DIRECT", 0)
    path = folder / f".modelstream-doctor-{secrets.token_hex(6)}"
    try:
        block = mmap.mmap(-1, BLOCK_BYTES)
        block[:] = os.urandom(BLOCK_BYTES)
        write_s = _write(path, block)
        how = "past the page cache"
        try:
            read_s = _read(path, block, direct)
        except OSError:
            read_s, how, direct = _read(path, block, 0), "through the page cache: O_DIRECT is not possible here", 0
    except OSError as error:
        found = f"a file cannot be written and read there: {error.strerror}"
        return Finding(PART, f"{name} rate", ERROR, found, "look at the disk and its mount")
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    found = f"reads {rate_text(TRIED_BYTES / read_s)} {how}, writes {rate_text(TRIED_BYTES / write_s)}"
    value = {"read_bytes_per_s": TRIED_BYTES / read_s, "write_bytes_per_s": TRIED_BYTES / write_s, "o_direct": bool(direct)}
    return Finding(PART, f"{name} rate", OK if direct else NOTE, found, value=value)


def _write(path: Path, block: mmap.mmap) -> float:
    started_s = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        for _ in range(TRIED_BYTES // BLOCK_BYTES):
            os.write(fd, block)
        os.fsync(fd)
    finally:
        os.close(fd)
    return max(time.monotonic() - started_s, 1e-6)


def _read(path: Path, block: mmap.mmap, flags: int) -> float:
    started_s = time.monotonic()
    with open(os.open(path, os.O_RDONLY | flags | getattr(os, "O_BINARY", 0)), "rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return max(time.monotonic() - started_s, 1e-6)


def _ram(config: Config) -> Finding:
    from ..cache.memory_budget import ram_budget_bytes, read_memory_figures

    figures = read_memory_figures()
    budget = ram_budget_bytes(config.ram.budget_bytes, figures)
    found = f"{size_text(budget)} for the RAM tier, of {size_text(figures.least_available_bytes)} available now"
    value = {"budget_bytes": budget, "available_bytes": figures.least_available_bytes}
    if config.ram.budget_bytes == 0:
        return Finding(PART, "RAM", NOTE, "budget_gb = 0: no RAM tier", value=value)
    if config.ram.budget_bytes is not None and budget < config.ram.budget_bytes:
        found += f"; ram.budget_gb asks for {size_text(config.ram.budget_bytes)}"
        return Finding(PART, "RAM", WARNING, found, "lower ram.budget_gb, or free memory", value)
    status = WARNING if budget < 1 << 30 else OK
    return Finding(PART, "RAM", status, found, "" if status == OK else "models are read from the SSD each time", value)


def check_packages(config: Config | None) -> Iterator[Finding]:
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        step = "install requirements.txt of the extension into ComfyUI's Python"
        yield Finding(PART, "packages", ERROR, f"missing: {', '.join(missing)}", step)
    else:
        yield Finding(PART, "packages", OK, ", ".join(f"{package} {_version(package)}" for package in NEEDED.values()))
    for module, (package, without) in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            wanted = package == "scikit-learn" and config is not None and config.prefetch.learned_boosting
            yield Finding(PART, package, WARNING if wanted else NOTE, f"not there: {without}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"
