"""Fixtures that many tests share.  Real parts live in ``tests/rig``; everything started here is stopped here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator

import pytest

from rig.seaweed import Seaweed

collect_ignore = ["inside_comfy"]
"""run in child processes by the tests that need ComfyUI's own modules"""


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM becomes an ordinary exit, so that fixtures are torn down and no server is left behind."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, and says why."""
    missing = {
        "root": None if hasattr(os, "geteuid") and os.geteuid() == 0 else "needs root",
        "gpu": None if shutil.which("nvidia-smi") else "needs a CUDA device",
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """One server for the whole run, with one bucket that tests share: use keys of your own, or ``bucket``."""
    with Seaweed() as server:
        yield server


@pytest.fixture
def bucket(seaweed: Seaweed) -> Iterator[str]:
    """The name of a fresh, empty bucket; it is gone after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3 = seaweed.client()
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for listed in page.get("Contents", ()):
            s3.delete_object(Bucket=name, Key=listed["Key"])
    s3.delete_bucket(Bucket=name)
    s3.close()
