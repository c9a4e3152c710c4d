"""The measured process: ``python -m bench.child`` with a job on stdin, one JSON line on stdout.

The clock starts after the interpreter and torch are there (ComfyUI has both in any case) and stops when every tensor
exists and one byte of each of its 4 KiB pages was read, so that nobody is credited for being lazy.  Then, off the
clock, the CRC64NVME of all tensor bytes is compared with the file's.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from .jobs import Client, Job, Loaded

PAGE = 4096


def main() -> None:
    plain = json.load(sys.stdin)
    job = Job.read(plain)
    import torch

    torch.set_grad_enabled(False)
    client = make_client(job)
    if plain.get("prepare"):
        answer = {"prepared": True}
        client.warm()
    else:
        answer = measure(client, job, began_s=plain["began_s"])
    client.close()
    print(json.dumps(answer), flush=True)
    os._exit(0)  # peers leave threads behind that keep the interpreter from ending


def make_client(job: Job) -> Client:
    from . import disk_loads, limits, loads, product

    kinds: dict[str, type[Client]] = {**loads.CLIENTS, **limits.CLIENTS, **product.CLIENTS, **disk_loads.CLIENTS}
    return kinds[job.client](job)


def measure(client: Client, job: Job, *, began_s: float) -> dict[str, Any]:
    if job.warm_targets:
        client.warm()
    gc.collect()  # what importing torch left behind: else whoever makes objects next pays for it (70-190 ms), whoever starts a program not
    cpu_before, start_s = cpu_s(), time.monotonic()
    loaded = client.load(job.targets)
    touch(loaded)
    stop_s, cpu_after = time.monotonic(), cpu_s()
    gigabytes = job.size_bytes / 1e9
    answer: dict[str, Any] = {
        "seconds": stop_s - start_s,
        "gb_per_s": gigabytes / (stop_s - start_s),
        "cpu_s": cpu_after - cpu_before,
        "cpu_s_per_gb": (cpu_after - cpu_before) / gigabytes,
        "bytes": job.size_bytes,
        "wire_bytes": loaded.wire_bytes,
        "process_s": stop_s - began_s,
        **peak_rss(job),
        **loaded.details,
    }
    if loaded.settle is not None:
        loaded.settle()
        answer["settled_s"] = time.monotonic() - start_s
        answer["cpu_s_per_gb_settled"] = (cpu_s() - cpu_before) / gigabytes
        answer["rss_mb_settled"] = peak_rss(job)["peak_rss_mb"]
    answer["right"] = right(loaded, job)
    return answer


def cpu_s() -> float:
    """Of this process, all threads, and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_rss(job: Job) -> dict[str, float]:
    """VmHWM, not ru_maxrss: that one is inherited from whoever started the process."""
    with open("/proc/self/status") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    peak_mb = peak_kib * 1024 / 1e6
    return {"peak_rss_mb": peak_mb, "rss_above_object_mb": peak_mb - job.size_bytes / 1e6}


def touch(loaded: Loaded) -> int:
    """Reads one byte of every page."""
    total = 0
    for tensors in loaded.state_dicts:
        for tensor in tensors.values():
            flat = as_bytes(tensor)
            total += int(flat[::PAGE].sum()) + int(flat[-1]) if flat.size else 0
    for buffer in loaded.buffers:
        total += sum(buffer[::PAGE])
    return total


def as_bytes(tensor: Any) -> Any:
    """The tensor's bytes as a numpy array over its own memory."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy()


def right(loaded: Loaded, job: Job) -> bool:
    """Whether all bytes are the file's.  Off the clock."""
    from awscrt import checksums

    if not loaded.state_dicts:
        return all(checksums.crc64nvme(b) == t.crc_object for b, t in zip(loaded.buffers, job.targets, strict=False))
    for tensors, target in zip(loaded.state_dicts, job.targets, strict=True):
        crc = 0
        for name in sorted(tensors):
            crc = checksums.crc64nvme(memoryview(as_bytes(tensors[name])), crc)
        if crc != target.crc_tensors:
            return False
    return True


if __name__ == "__main__":
    main()
