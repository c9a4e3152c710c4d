"""Which file name an object's key may become."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.paths import BASENAME_BYTES, Layout, safe_basename


@pytest.mark.parametrize(
    "key",
    [
        "a.safetensors",
        "x/y/a.safetensors",
        "sd_xl 1.0 (fixed) [v2].safetensors",
        "модель-é漢字.ckpt",
        ".hidden.pt",
        "a.b.c.gguf",
        "console.pt",
        "no extension",
    ],
)
def test_a_normal_name_stays_as_it_is(key: str) -> None:
    assert safe_basename(key) == key.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "..", "a/..", ".", "a/", "../../etc/passwd/..", "C:", "C:\\x\\", "\\\\host\\share\\",
        "a\0b.pt", "a\nb.pt", "a\x7f.pt", "a\x85.pt",
        "name.", "name ", " name.pt", "...", "CON", "con.safetensors", "AUX.safetensors", "aux .pt",
        "LPT9.tar.gz", "COM¹.pt", "nul", "record.json",
        "Record.JSON", "a:b.pt", "a*?.pt", 'a"<>|.pt', "x" * 300 + ".safetensors", "漢" * 100 + ".safetensors",
        "a." + "e" * 250, "\ud800.pt",
        "e\u0301.pt", "dir/x.pt:stream",
    ],
)  # fmt: skip
def test_an_awkward_name_becomes_a_safe_one_that_tells_itself_apart(key: str) -> None:
    name = safe_basename(key)
    assert_safe(name)
    assert name != key
    assert safe_basename(key + "2") != name


@pytest.mark.parametrize(
    "key", ["x" * 300 + ".safetensors", "AUX.safetensors", "a\0b.safetensors", "C:\\models\\a:b.safetensors", "漢" * 100 + ".safetensors"]
)
def test_an_awkward_name_keeps_its_extension(key: str) -> None:
    assert safe_basename(key).endswith(".safetensors")


@given(st.text(max_size=300) | st.text(alphabet="./\\ :aCON\0", max_size=12))
def test_any_key_becomes_a_safe_name(key: str) -> None:
    assert_safe(safe_basename(key))


@given(st.text(alphabet="a.\\/: \0é", max_size=6), st.text(alphabet="a.\\/: \0é", max_size=6))
def test_two_leaves_never_share_a_name_unless_they_are_the_same(first: str, second: str) -> None:
    leaf = [k.replace("\\", "/").rsplit("/", 1)[-1] for k in (first, second)]
    assert (safe_basename(first) == safe_basename(second)) == (leaf[0] == leaf[1])


def assert_safe(name: str) -> None:
    assert name and name not in (".", "..") and not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert len(name.encode()) <= BASENAME_BYTES and name == name.rstrip(". ") and name == name.lstrip(" ")
    assert name.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1", "COM¹", "LPT9"}
    assert name.lower() != "record.json"
    assert os.path.basename(name) == name


def test_a_path_is_ours_only_if_every_part_of_it_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "ssd")
    digest = "ab" * 32
    good = str(layout.entry(digest) / "x.pt")
    assert layout.digest_of(good) == digest
    assert layout.digest_of(good.replace("objects", "partial")) is None
    assert layout.digest_of(good.replace("/ab/ab/", "/ab/cd/")) is None
    assert layout.digest_of(good.replace(digest, digest.upper())) is None
    assert layout.digest_of(good + "/more") is None
    assert layout.digest_of("") is None
    assert layout.digest_of("x.pt") is None


@pytest.mark.skipif(os.name == "nt", reason="needs symlinks")
def test_a_path_through_the_real_name_of_a_linked_root_is_ours_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    layout = Layout(tmp_path / "link")
    digest = "ab" * 32
    assert layout.digest_of(str(tmp_path / "real" / "objects" / "ab" / "ab" / digest / "x.pt")) == digest
    assert layout.digest_of(str(tmp_path / "link" / "objects" / "ab" / "ab" / digest / "x.pt")) == digest
