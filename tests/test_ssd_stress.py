"""Several processes and threads on one small SSD directory, killed at random: a bounded number of operations."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.ssd_parts import content, shown, tier
from rig.ssd_stress import BUDGET, OBJECTS

HERE = Path(__file__).parent
ROUNDS, PROCESSES, OPERATIONS = 4, 3, 40


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_many_processes_that_bring_read_evict_and_die_leave_whole_files_and_true_figures(tmp_path: Path) -> None:
    choose, bodies = random.Random(7), [content(obj) for obj in OBJECTS]
    for round_number in range(ROUNDS):
        processes = []
        for number in range(PROCESSES):
            command = [sys.executable, "-m", "rig.ssd_stress", str(tmp_path), str(10 * round_number + number), str(OPERATIONS)]
            processes.append(subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0))
        for number, process in enumerate(processes):
            if number < PROCESSES - 1:  # the last one lives to its end
                process.stdout.read(1)
                for _ in range(choose.randrange(OPERATIONS)):
                    process.stdout.read(1)
                process.send_signal(signal.SIGKILL)
        for number, process in enumerate(processes):
            errors = process.communicate(timeout=120)[1].decode()
            assert process.returncode in ((0,) if number == PROCESSES - 1 else (0, -signal.SIGKILL)), errors
            assert "Traceback" not in errors, errors
        assert all(path.read_bytes() in bodies for path in shown(tmp_path)), "something partial has a final name"
    with tier(tmp_path, budget_bytes=BUDGET) as ssd:
        ssd.sweep()
        ssd.scan()
        snapshot = ssd.snapshot()
        assert snapshot.used_bytes == sum(path.stat().st_size for path in shown(tmp_path)) and snapshot.entries == len(shown(tmp_path))
        assert snapshot.reserved_bytes == 0 and snapshot.leases == 0
        assert not list((tmp_path / "trash").iterdir()) and not list((tmp_path / "locks").iterdir())
        assert not ssd._lease_files.live(), "a dead process still keeps an entry"
