"""docs/providers.md says of every provider what the table in the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelstream.storage.presets import PRESETS
from modelstream.storage.provider_table import LEVELS, PROVIDERS, Provider

LINES = (Path(__file__).resolve().parents[1] / "docs" / "providers.md").read_text("utf-8").splitlines()


def written(preset: str) -> list[str]:
    return next([cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith(f"| `{preset}` |"))


def yes(so: bool) -> str:
    return "yes" if so else "no"


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_table_for_people_is_the_table_of_the_code(provider: Provider):
    _, hot, warm, cold, archive, more, ways, restores, checksum, conditional, versions, parts = written(provider.preset)
    for level, cell in zip(LEVELS, (hot, warm, cold, archive), strict=True):
        assert cell == (" ".join(provider.classes.get(level, ())) or "-")
    assert more == (" ".join(name for _, name in provider.more) or "-")
    assert ways == (", ".join(provider.ways) or "-")
    assert checksum == (provider.checksums or "none")
    said = (restores, conditional, versions, parts)
    assert said == tuple(map(yes, (provider.restores, provider.conditional, provider.versions, provider.multipart_copy)))


def test_every_preset_has_a_row():
    assert set(PROVIDERS) == set(PRESETS)
