"""The CUDA runtime's pinning and ComfyUI's ledger, as books that refuse what the real ones would."""

from __future__ import annotations

import threading
from types import SimpleNamespace

SUCCESS, INVALID, NO_MEMORY, NOT_REGISTERED, ALREADY_REGISTERED = 0, 1, 2, 713, 712


class FakeCuda:
    """ranges: address → size of what is registered; refuse: code of the n-th registration from now (0: the next)."""

    def __init__(self) -> None:
        self.ranges: dict[int, int] = {}
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.refuse: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self.ranges.values())

    def touches(self, address: int, size_bytes: int) -> bool:
        return any(a < address + size_bytes and address < a + s for a, s in list(self.ranges.items()))

    def register(self, address: int, size_bytes: int) -> int:
        self.calls.append("register")
        self.threads.add(threading.current_thread().name)
        planned = {n - 1: code for n, code in self.refuse.items() if n}
        code, self.refuse = self.refuse.get(0, SUCCESS), planned
        if code == SUCCESS and self.touches(address, size_bytes):
            code = ALREADY_REGISTERED
        if code == SUCCESS:
            self.ranges[address] = size_bytes
        return code

    def unregister(self, address: int) -> int:
        self.calls.append("unregister")
        return SUCCESS if self.ranges.pop(address, None) is not None else NOT_REGISTERED

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def forget_error(self) -> None:
        self.calls.append("forget_error")


def comfyui(most_bytes: float = 1 << 40, total_bytes: int = 0) -> SimpleNamespace:
    """``comfy.model_management`` as far as pinning goes."""
    state = SimpleNamespace(GPU="gpu", CPU="cpu")
    return SimpleNamespace(
        MAX_PINNED_MEMORY=most_bytes, TOTAL_PINNED_MEMORY=total_bytes, PINNED_MEMORY={}, CPUState=state, cpu_state=state.GPU
    )
