"""AMD and Apple devices, as torch tells of them: stand-ins with the calls and the refusals of the real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from modelstream.hooks.gpus import other_gpus
from modelstream.telemetry.gpu import GpuFigures, GpuProbe

GIB = 1 << 30


def refuses(*_: Any) -> Any:
    raise ModuleNotFoundError("amdsmi does not seem to be installed")


def cuda(**other: Any) -> SimpleNamespace:
    """torch.cuda of a ROCm build with one card."""
    calls: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda index: "AMD Radeon RX 7900 XTX",
        "mem_get_info": lambda index: (18 * GIB, 24 * GIB),
        "utilization": lambda index: 37,
        "temperature": lambda index: 58,
        "power_draw": lambda index: 212_000,
    }
    return SimpleNamespace(**{**calls, **other})


def torch_of(*, hip: str | None = None, cuda: Any = None, mps: Any = None) -> SimpleNamespace:
    backend = SimpleNamespace(is_available=lambda: mps is not None)
    return SimpleNamespace(version=SimpleNamespace(hip=hip), backends=SimpleNamespace(mps=backend), cuda=cuda, mps=mps)


def nvml_is_missing() -> Any:
    raise ImportError("pynvml")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    return lambda torch: monkeypatch.setitem(sys.modules, "torch", torch)


def test_an_amd_card_is_told_with_every_figure_that_rocm_gives(use: Callable[[Any], None]) -> None:
    use(torch_of(hip="6.3", cuda=cuda()))
    name = "AMD Radeon RX 7900 XTX"
    assert other_gpus() == (GpuFigures(0, name, "amd", "ok", 6 * GIB, 24 * GIB, 37, 58, 212.0),)
    assert GpuProbe(other_gpus, nvml=nvml_is_missing).look() == other_gpus()


def test_what_amds_library_does_not_tell_is_none_and_never_zero(use: Callable[[Any], None]) -> None:
    use(torch_of(hip="6.3", cuda=cuda(utilization=refuses, temperature=refuses, power_draw=refuses)))
    (card,) = other_gpus()
    assert (card.memory_used_bytes, card.memory_total_bytes) == (6 * GIB, 24 * GIB)
    assert (card.utilization_percent, card.temperature_c, card.power_w, card.power_limit_w, card.processes) == (None,) * 5
    use(torch_of(hip="6.3", cuda=cuda(mem_get_info=refuses)))
    (card,) = other_gpus()
    assert (card.memory_used_bytes, card.memory_share) == (None, None)


def test_looking_never_starts_rocm(use: Callable[[Any], None]) -> None:
    use(torch_of(hip="6.3", cuda=cuda(is_initialized=lambda: False, device_count=refuses, mem_get_info=refuses)))
    assert other_gpus() == ()


def test_an_older_torch_without_the_newer_calls_still_tells_the_memory(use: Callable[[Any], None]) -> None:
    old = cuda()
    for name in ("power_draw", "temperature", "utilization"):
        delattr(old, name)
    use(torch_of(hip="5.4", cuda=old))
    (card,) = other_gpus()
    assert (card.memory_used_bytes, card.temperature_c, card.power_w) == (6 * GIB, None, None)


def test_apples_gpu_is_told_by_the_memory_that_its_driver_gave_out(use: Callable[[Any], None]) -> None:
    use(torch_of(mps=SimpleNamespace(driver_allocated_memory=lambda: 3 * GIB, recommended_max_memory=lambda: 21 * GIB)))
    assert other_gpus() == (GpuFigures(0, "Apple GPU", "apple", "ok", 3 * GIB, 21 * GIB),)
    use(torch_of(mps=SimpleNamespace(driver_allocated_memory=lambda: 3 * GIB)))  # torch before 2.5
    (card,) = other_gpus()
    assert (card.memory_used_bytes, card.memory_total_bytes, card.memory_share) == (3 * GIB, None, None)


def test_without_any_of_them_and_before_torch_is_there_nothing_is_told(use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    use(torch_of())
    assert other_gpus() == ()
    monkeypatch.delitem(sys.modules, "torch")
    assert other_gpus() == ()
