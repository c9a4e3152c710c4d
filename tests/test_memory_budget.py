"""The RAM tier's budget: a pure decision, and the files it is read from."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.memory_budget import MemoryFigures, ram_budget_bytes, read_memory_figures

GIB = 1 << 30


@pytest.mark.parametrize(
    ("configured", "figures", "expected"),
    [
        (None, MemoryFigures(64 * GIB, 60 * GIB), 52 * GIB),
        (None, MemoryFigures(16 * GIB, 12 * GIB), 8 * GIB),
        (None, MemoryFigures(64 * GIB, 60 * GIB, 16 * GIB), 12 * GIB),
        (10 * GIB, MemoryFigures(64 * GIB, 60 * GIB), 10 * GIB),
        (100 * GIB, MemoryFigures(64 * GIB, 60 * GIB), 52 * GIB),
        (0, MemoryFigures(64 * GIB, 60 * GIB), 0),
        (None, MemoryFigures(16 * GIB, 1 * GIB), 0),
    ],
)
def test_the_budget_is_the_smallest_of_config_container_and_machine(configured: int | None, figures: MemoryFigures, expected: int) -> None:
    assert ram_budget_bytes(configured, figures) == expected


SIZES = st.integers(0, 1 << 45)


@given(st.none() | SIZES, SIZES, SIZES, st.none() | SIZES, st.none() | SIZES)
def test_the_budget_never_exceeds_any_limit(configured: int | None, total: int, free: int, limit: int | None, reserve: int | None) -> None:
    budget = ram_budget_bytes(configured, MemoryFigures(total, free, limit), reserve)
    assert 0 <= budget <= max(0, free - (reserve or 0))
    assert configured is None or budget <= configured
    assert limit is None or budget <= max(0, limit - (reserve or 0))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_takes_the_tightest_limit_of_the_branch(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/job\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/pod/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/pod/job/memory.max": f"{16 * GIB}\n",
            "sys/fs/cgroup/pod/job/memory.high": "max\n",
        },
    )
    assert read_memory_figures(root).cgroup_limit_bytes == 8 * GIB


def test_version_2_counts_the_throttling_limit_too(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "900", "sys/fs/cgroup/memory.high": "800"})
    assert read_memory_figures(root).cgroup_limit_bytes == 800


def test_version_1_is_read_beside_an_empty_version_2(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{4 * GIB}\n",
        },
    )
    assert read_memory_figures(root).cgroup_limit_bytes == 4 * GIB


def test_a_container_that_shows_the_hosts_path_reads_its_own_root(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"proc/self/cgroup": "4:cpu,memory:/kubepods/pod1/xyz\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096"},
    )
    assert read_memory_figures(root).cgroup_limit_bytes == 4096


def test_a_path_outside_the_namespace_is_not_followed(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/../../x\n", "sys/x/memory.max": "1", "sys/fs/cgroup/memory.max": "500"})
    assert read_memory_figures(root).cgroup_limit_bytes == 500


@pytest.mark.parametrize("text", ["", "garbage\n", "0::/gone\n", "4:memory:/gone\n"])
def test_without_a_readable_limit_there_is_none(tmp_path: Path, text: str) -> None:
    assert read_memory_figures(tree(tmp_path, {"proc/self/cgroup": text})).cgroup_limit_bytes is None


def test_the_real_machine_can_be_read() -> None:
    figures = read_memory_figures()
    assert figures.total_bytes == psutil.virtual_memory().total
    assert 0 < ram_budget_bytes(1, figures, 0) <= 1
