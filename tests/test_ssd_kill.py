"""SIGKILL between any two calls to the operating system: the next process finds whole entries and right chunks only."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.ssd_parts import content, remote, shown, tier
from rig.ssd_writer import SIZE

KILLS = 10
"""for each way of landing"""
CALLS = {"memory": 108, "file": 68}
"""about as many as one object takes"""
HERE = Path(__file__).parent


def run(root: Path, version: str, mode: str, kill_at: int) -> list[str]:
    """What the process said before it was killed, waiting for leave to make its ``kill_at``-th call, or ended."""
    command = [sys.executable, "-m", "rig.ssd_writer", str(root), version, mode]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        said: list[str] = []
        calls = 0
        for line in process.stdout:
            said.append(line.decode().strip())
            if " " in said[-1] or said[-1] == "finished":
                continue
            calls += 1
            if calls == kill_at:
                process.send_signal(signal.SIGKILL)
                break
            process.stdin.write(b".")
        errors = process.stderr.read()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return said


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("mode", ["memory", "file"])
def test_a_process_killed_at_any_instant_leaves_whole_entries_and_chunks_to_resume(tmp_path: Path, mode: str) -> None:
    choose = random.Random(mode)
    version, resumed = 0, 0
    for _ in range(KILLS):
        obj = remote(size_bytes=SIZE, version=str(version))
        said = run(tmp_path, str(version), mode, choose.randrange(1, CALLS[mode]))
        resumed += sum(int(line.split()[1]) for line in said if line.startswith("resumed"))
        with tier(tmp_path) as ssd:
            files = shown(tmp_path)
            for path in files:
                assert path.read_bytes() == content(remote(size_bytes=SIZE, version=path_version(ssd, path, version)))
            whole = ssd.lookup(obj) is not None
            assert whole == (ssd.path_for(obj) in files)
            assert ssd.snapshot().used_bytes == SIZE * len(files)
            version += whole
    assert run(tmp_path, str(version), mode, 0)[-1] == "finished"
    assert resumed > 0, "no kill fell between two chunks"
    with tier(tmp_path) as ssd:
        assert ssd.lookup(remote(size_bytes=SIZE, version=str(version))) is not None
        ssd.sweep()
    assert not list((tmp_path / "partial").iterdir()) and not list((tmp_path / "trash").iterdir())


def path_version(ssd, path: Path, up_to: int) -> str:
    digest = ssd.digest_of(str(path))
    return next(str(v) for v in range(up_to + 1) if remote(size_bytes=SIZE, version=str(v)).id.digest == digest)
