"""Many faults at once, drawn at random: whatever happens, a loader gets one version or an error that explains itself."""

from __future__ import annotations

import itertools
import random
import threading

import pytest

from modelstream.storage.errors import ModelStreamError
from rig import faults
from rig.certificates import make_authority
from rig.faultproxy import FaultProxy
from rig.invariants import explains_itself, is_one_version
from rig.tiny_models import safetensors_bytes
from rig.transfers import MIB, QUICK, BufferZone, finished, made_up, transfer_rig
from rig.whole_cache import cache_rig

KEY = "storm/model.safetensors"
SIZE = 5 * MIB + 12345
PATIENT = QUICK.replace("retries = 3", "retries = 8").replace("no_progress_s = 3", "no_progress_s = 8")


@pytest.mark.parametrize("seed", range(8))
def test_a_storm_of_faults_ends_with_the_object_or_an_error(seaweed, seed):
    body = made_up("storm", SIZE)
    with transfer_rig(seaweed, transfer=PATIENT) as rig:
        obj = rig.put(KEY, body)
        rig.proxy.on(faults.Storm(seed), path=KEY, method=None, times=None)
        zone, transfer = rig.start(obj, BufferZone())
        try:
            finished(transfer)
        except ModelStreamError as error:
            explains_itself(error, KEY, rig.secrets)
        else:
            is_one_version(zone.buffer, body)
        rig.proxy.clear()
        rig.load(obj, body)


@pytest.mark.parametrize("seed", range(100, 108))
def test_a_storm_over_an_object_that_changes_never_mixes_versions(seaweed, seed):
    versions = [made_up(f"storm {n}", SIZE + 4096 * (n % 3)) for n in range(40)]
    count = itertools.count(1)
    with transfer_rig(seaweed, transfer=PATIENT) as rig:
        obj = rig.put(KEY, versions[0])
        overwrite = lambda: rig.put(KEY, versions[next(count) % len(versions)])  # noqa: E731
        rig.proxy.on(faults.Storm(seed, share=0.3, versions=overwrite), path=KEY, method=None, times=None)
        zone, transfer = rig.start(obj, BufferZone())
        try:
            finished(transfer)
        except ModelStreamError as error:
            explains_itself(error, KEY, rig.secrets)
        else:
            is_one_version(zone.buffer, *versions)


@pytest.mark.parametrize("seed", [200, 201])
def test_a_storm_over_tls(seaweed, tmp_path, seed):
    authority = make_authority(tmp_path)
    body = made_up("storm tls", SIZE)
    with FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context()) as tls:
        profile = (
            f'endpoint = "{tls.url}"\nca_bundle = "{authority.ca_bundle}"\naccess_key_id = "{seaweed.access_key}"\n'
            f'secret_access_key = "{seaweed.secret_key}"\nconnect_timeout_s = 2\nread_timeout_s = 2\nmax_attempts = 2\n'
        )
        with transfer_rig(seaweed, transfer=PATIENT, profile=profile) as rig:
            obj = rig.put(KEY, body)
            tls.on(faults.Storm(seed), path=KEY, method=None, times=None)
            zone, transfer = rig.start(obj, BufferZone())
            try:
                finished(transfer)
            except ModelStreamError as error:
                explains_itself(error, KEY, rig.secrets)
            else:
                is_one_version(zone.buffer, body)


class Gone(Exception):
    """Somebody loses patience."""


class Impatient:
    def __init__(self, checks: int) -> None:
        self._left = checks

    def progress(self, progress: object) -> None:
        return None

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Gone


@pytest.mark.parametrize("seed", range(300, 303))
def test_many_loaders_some_impatient_in_a_storm_and_with_little_memory(seaweed, tmp_path, seed):
    """Three objects, room for two in memory, four loaders: every answer is right, and everything is given back."""
    bodies = {f"storm/{n}.safetensors": safetensors_bytes(f"storm {n}", (4 + 3 * n) * MIB) for n in range(3)}
    with cache_rig(seaweed, tmp_path / "ssd", *bodies.values(), ram_bytes=20 * MIB) as rig:
        objects = {key: rig.put(key, body) for key, body in bodies.items()}
        rig.proxy.on(faults.Storm(seed, share=0.15), path="storm/", method=None, times=None)
        wrong: list[BaseException] = []
        loaded = []

        def load_now_and_again(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            for _ in range(8):
                key = chance.choice(list(bodies))
                watch = Impatient(chance.choice((0, 1, 5, 10_000)))
                try:
                    with rig.parts.cache.open_tensors(objects[key], watch) as opened:
                        is_one_version(memoryview(opened.buffer).cast("B")[: opened.size_bytes].tobytes(), bodies[key])
                    loaded.append(key)
                except Gone:
                    pass
                except ModelStreamError as error:
                    explains_itself(error, key, rig.secrets)
                except BaseException as error:  # handed to the test
                    wrong.append(error)

        threads = [threading.Thread(target=load_now_and_again, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads), "a load hangs"
        assert not wrong, wrong
        assert loaded
        del threads
