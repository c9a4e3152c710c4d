"""Sizes and times as people read them."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.people import seconds_text, share_text, size_text
from rig.checkpoints import ROOT

SIZES = (
    0,
    1,
    12,
    999,
    999.6,
    1000,
    1500,
    9_994,
    9_996,
    99_949,
    99_951,
    999_499,
    999_501,
    26_012_345,
    26_000_000,
    6_938_078_334,
    10**12,
    10**18,
)
AS_THE_PANEL = """
import { build } from "esbuild";
const made = await build({ entryPoints: ["web/src/units.ts"], bundle: true, format: "esm", write: false });
const units = await import("data:text/javascript;base64," + Buffer.from(made.outputFiles[0].contents).toString("base64"));
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(size => units.bytes("en", size))));
"""


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (6_938_078_334, "6.94 GB"), (26_012_345, "26 MB"), (999_600_000, "1 GB"), (5e9, "5 GB")],
)
def test_a_size_has_three_digits_and_one_unit(size_bytes: float, text: str) -> None:
    assert size_text(size_bytes) == text


@given(st.integers(0, 10**17))
def test_a_size_is_never_more_than_half_a_percent_off_and_never_a_thousand_of_a_unit(size_bytes: int) -> None:
    value, unit = size_text(size_bytes).split(" ")
    exact = float(value) * 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(value) < 1000
    assert abs(exact - size_bytes) <= max(0.5, 0.0051 * size_bytes)


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_share_is_written_in_the_unit_of_the_larger(part_bytes: int, whole_bytes: int) -> None:
    part, _, whole, unit = share_text(part_bytes, whole_bytes).split(" ")
    assert unit == size_text(max(part_bytes, whole_bytes)).split(" ")[1]
    assert (float(part) <= float(whole)) or part_bytes > whole_bytes


def test_a_share_that_grows_keeps_its_width() -> None:
    assert share_text(0, 6_938_078_334) == "0.0 / 6.9 GB"
    assert share_text(1_200_000_000, 6_938_078_334) == "1.2 / 6.9 GB"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 ms"), (0.85, "850 ms"), (8.1, "8.1 s"), (9.97, "10 s"), (42.3, "42 s"), (180, "3 min")]
)
def test_a_time_has_one_unit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.skipif(
    not shutil.which("node") or not (ROOT / "node_modules" / "esbuild").is_dir(), reason="node or esbuild is not installed: npm ci"
)
def test_one_model_has_one_size_on_a_node_and_in_the_panel() -> None:
    command = ["node", "--input-type=module", "-e", AS_THE_PANEL, json.dumps(SIZES)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    shown = [text.replace("\u00a0", " ") for text in json.loads(done.stdout)]
    assert shown == [size_text(size_bytes).replace("1000 PB", "1,000 PB") for size_bytes in SIZES]
