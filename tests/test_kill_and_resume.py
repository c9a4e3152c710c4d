"""SIGKILL at random instants of a load, again and again, until it is through.  Cases 35 and 43 of the fault matrix.

After each kill nothing partial is visible; each next process goes on from the chunks that the killed ones left; what
arrives in the end is the object, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import faults
from rig.faultproxy import FaultProxy
from rig.invariants import eventually, nothing_partial_is_shown, shown_files
from rig.tiny_models import safetensors_bytes
from rig.transfers import MIB
from rig.whole_cache import cache_toml

KEY = "checkpoints/killed.safetensors"
BODY = safetensors_bytes("killed", 128 * MIB)
SHORT_KEY = "checkpoints/short.safetensors"
SHORT = safetensors_bytes("short", 20 * MIB)
KILLS = 12
RATE = 32 * MIB
"""of one connection: slow enough that a kill falls into the middle"""


class Loaders:
    """Loader processes, one after another, on one SSD folder."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert self._read() == {"ready": True}

    def start(self, line: str = "load") -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return int(self._read()["pid"])

    def end(self) -> dict:
        """What the loader said; empty when it was killed first."""
        said: dict = {}
        while "ended" not in (answer := self._read()):
            said = answer
        return said

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the loader process ended"
        return json.loads(line)


@contextlib.contextmanager
def loaders(folder: Path, seaweed, proxy: FaultProxy, key: str = KEY) -> Iterator[Loaders]:
    config = folder / "config.toml"
    config.write_text(cache_toml(seaweed, proxy.url, ram_bytes=256 * MIB, transfer="connections_max = 3\npart_size_mb = 4\n"))
    command = [sys.executable, "-m", "rig.loader_process", str(config), str(folder / "ssd"), key]
    process = subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Loaders(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@pytest.fixture
def proxy(seaweed) -> Iterator[FaultProxy]:
    s3 = seaweed.client()
    for key, body in ((KEY, BODY), (SHORT_KEY, SHORT)):
        s3.put_object(Bucket=seaweed.bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
    s3.close()
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        yield proxy


def test_a_load_that_is_killed_again_and_again_is_resumed_and_never_shows_a_part(seaweed, proxy, tmp_path):
    """Case 35."""
    chance = random.Random(35)
    ssd = tmp_path / "ssd"
    with loaders(tmp_path, seaweed, proxy) as load:
        total = 0
        for _ in range(KILLS):
            proxy.clear()
            proxy.on(faults.Drip(RATE), path=KEY, times=None)
            pid = load.start("hold")
            enough = chance.randint(1, 40 * MIB)
            eventually(lambda enough=enough: proxy.sent_bytes(KEY) >= enough or bool(shown_files(ssd)), within_s=10)
            os.kill(pid, signal.SIGKILL)
            load.end()
            nothing_partial_is_shown(ssd, BODY)
            total += proxy.sent_bytes(KEY)
            if shown_files(ssd):
                break
        assert shown_files(ssd) or total > len(BODY) // 4, "the kills did not fall into the load"
        proxy.clear()
        load.start()
        said = load.end()
        assert said.get("sha256") == hashlib.sha256(BODY).hexdigest(), said
        assert proxy.sent_bytes(KEY) < len(BODY), "nothing was resumed"
        assert eventually(lambda: len(nothing_partial_is_shown(ssd, BODY)) == 1)
        proxy.clear()
        load.start()
        said = load.end()
        assert said["source"] == "ssd"
        assert proxy.sent_bytes(KEY) == 0
        assert not list((ssd / "partial").iterdir())


def test_a_load_that_is_killed_while_its_copy_becomes_final_leaves_it_whole_or_absent(seaweed, proxy, tmp_path):
    """Case 35, the last moments: fsync, record, rename.  Each round begins with an empty disk."""
    chance = random.Random(36)
    ssd = tmp_path / "ssd"
    with loaders(tmp_path, seaweed, proxy, SHORT_KEY) as load:
        for _ in range(KILLS):
            shutil.rmtree(ssd, ignore_errors=True)
            proxy.clear()
            pid = load.start("hold")
            assert eventually(lambda: proxy.sent_bytes(SHORT_KEY) >= len(SHORT), within_s=10)
            threading.Event().wait(chance.uniform(0, 0.12))  # the instant of the kill: any is right
            os.kill(pid, signal.SIGKILL)
            load.end()
            assert len(nothing_partial_is_shown(ssd, SHORT)) <= 1
            load.start()
            assert load.end().get("sha256") == hashlib.sha256(SHORT).hexdigest()


def test_a_process_without_file_descriptors_fails_in_words_and_leaves_nothing_behind(seaweed, proxy, tmp_path):
    """Case 43: for each limit the load works, or says why not; the next one without a limit works."""
    with loaders(tmp_path, seaweed, proxy) as load:
        outcomes = []
        for limit in (8, 10, 12, 14, 16, 20, 28):
            load.start(f"load {limit}")
            said = load.end()
            outcomes.append(said)
            nothing_partial_is_shown(tmp_path / "ssd", BODY)
            if "sha256" in said:
                assert said["sha256"] == hashlib.sha256(BODY).hexdigest()
                break
        refused = [said for said in outcomes if "error" in said]
        for said in refused:
            assert said["message"].count(". ") >= 1, said
        load.start()
        assert load.end().get("sha256") == hashlib.sha256(BODY).hexdigest()
