"""Starting the measured processes: fresh, pinned to a core, with a limit, and never left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SERVER_CORE, CLIENT_CORE = 0, 1
LIMIT_S = 300.0


def pinned(core: int | None) -> tuple[str, ...]:
    """The command prefix that keeps a process on one core; nothing where there is none to spare."""
    if core is None or (os.cpu_count() or 1) <= core or shutil.which("taskset") is None:
        return ()
    return ("taskset", "-c", str(core))


def run_module(
    module: str,
    job: Any,
    *,
    python: str | Path = sys.executable,
    core: int | None = None,
    environ: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
) -> dict[str, Any]:
    """Runs ``python -m module`` with the job as JSON on stdin; its last line on stdout is the answer.

    Everything that goes wrong is an answer too: ``{"error": …}`` with the last line of stderr.
    """
    command = [*pinned(core), str(python), "-m", module]
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(json.dumps({**job, "began_s": began_s}).encode(), timeout=limit_s)
        except subprocess.TimeoutExpired:
            return {"error": f"no end after {limit_s:.0f} s"}
        finally:
            _end(process)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    lines = output.decode("utf-8", "replace").strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"error": f"exit code {process.returncode}: {said[-1] if said else 'it said nothing'}"}
    return answer


def start_worker(module: str, job: Mapping[str, Any], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    """``python -m module`` that is told the job as its first line of JSON and goes on listening: see `say`."""
    worker = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=environment(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    say(worker, json.dumps(job))
    return worker


def say(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small, known environment: no proxy, no AWS configuration of whoever runs this."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "AWS_EC2_METADATA_DISABLED": "true", **(more or {})}


def cpu_seconds_of(pid: int) -> float:
    """User and system time that a running process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def set_cores(pid: int, core: int | None) -> None:
    """Moves a running process, all its threads, to one core; None: to all."""
    cores = set(range(os.cpu_count() or 1)) if core is None else {core}
    if not hasattr(os, "sched_setaffinity") or not pinned(core or 0):
        return
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:
            pass  # it has ended meanwhile
