"""What is told about the devices, from the allocator's own statistics."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from modelstream.cache.vram import Limits, Sizes, Warm, WarmPool
from modelstream.hooks.devices import NOT_AVAILABLE, DeviceFigures, compact, device_figures, devices_json
from modelstream.storage.config import Config
from modelstream.storage.errors import ConfigError
from modelstream.storage.events import EventBus

GB = 1 << 30


class Cuda:
    """``torch.cuda`` of one card, as far as it is asked."""

    def __init__(self, **stats: int) -> None:
        self.stats, self.started = stats, True

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.started

    def device_count(self) -> int:
        return 1

    def memory_stats(self, index: int) -> dict[str, int]:
        return {name.replace("__", "."): value for name, value in self.stats.items()}

    def mem_get_info(self, index: int) -> tuple[int, int]:
        return 10 * GB, 24 * GB


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stats = {"reserved_bytes__all__current": 8 * GB, "allocated_bytes__all__current": 5 * GB, "num_ooms": 2}
    made = Cuda(**stats, active_bytes__all__current=6 * GB, inactive_split_bytes__all__current=GB)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=made))
    return made


def test_the_figures_are_the_allocators_own(cuda: Cuda) -> None:
    assert device_figures() == (DeviceFigures("cuda:0", 24 * GB, 10 * GB, 8 * GB, 5 * GB, GB, 6 * GB, 0, 2),)
    found: Any = devices_json()
    assert found[0]["inactive_split_bytes"] == GB


def test_asking_does_not_start_cuda(cuda: Cuda) -> None:
    cuda.started = False
    assert devices_json() == NOT_AVAILABLE


def test_memory_is_given_back_where_much_of_it_lies_idle(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []
    monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace(soft_empty_cache=lambda: emptied.append(1)))
    assert compact()
    cuda.stats["allocated_bytes__all__current"] = 7 * GB
    assert not compact()
    assert emptied == [1]


@pytest.mark.parametrize(
    ("reserved", "allocated", "worth"), [(8 * GB, 5 * GB, True), (8 * GB, 7 * GB, False), (200 << 20, 0, False), (0, 0, False)]
)
def test_compacting_has_to_be_worth_it(reserved: int, allocated: int, worth: bool) -> None:
    figures = DeviceFigures("cuda:0", 24 * GB, 0, reserved, allocated, 0)
    assert figures.worth_compacting() is worth


def test_the_owner_gives_single_devices_budgets_of_their_own() -> None:
    config = Config.from_text('[vram]\ndevice_budget_gb = 2\ndevice_budgets_gb = { "cuda:1" = 0.5 }\n')
    limits = Limits(None, config.vram.device_budget_bytes, by_device=config.vram.device_budgets_bytes)
    assert (limits.of_device("cuda:0"), limits.of_device("cuda:1")) == (2 * GB, GB // 2)
    with pytest.raises(ConfigError, match="device_budgets_gb has a name that is no device"):
        Config.from_text("[vram]\ndevice_budgets_gb = { first = 1 }\n")
    with pytest.raises(ConfigError, match="must be between"):
        Config.from_text('[vram]\ndevice_budgets_gb = { "cuda:0" = -1 }\n')


def test_what_the_pool_has_on_a_device_and_may_have_is_told_beside_it(cuda: Cuda) -> None:
    pool: WarmPool[str] = WarmPool(Limits(by_device={"cuda:0": 9}), EventBus())
    pool.put("a", Warm("a", "model a", 1.0, lambda: Sizes(device_bytes={"cuda:0": 7})))
    found: Any = devices_json(pool)
    assert (found[0]["models_bytes"], found[0]["budget_bytes"]) == (7, 9)
