"""Layout and snapshot, against their definitions, for whatever keys there may be."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelstream.storage.catalog_snapshot import SnapshotUnreadable, read_snapshot, write_snapshot
from modelstream.storage.config import FolderRule
from modelstream.storage.layout import FolderView, is_safe_name, lookup_name, sources
from modelstream.storage.listing import Listing, ListingBuilder
from modelstream.storage.objects import ObjectId, RemoteObject

SEGMENTS = st.sampled_from(["a", "b", "loras", "checkpoints", "sd", "x.safetensors", "y.CKPT", "é", "日本", "z.txt"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
PREFIXES = st.lists(SEGMENTS, min_size=0, max_size=2).map(lambda parts: "".join(part + "/" for part in parts))
VIEWS = st.builds(
    FolderView,
    st.sampled_from(["loras", "checkpoints", "sd"]),
    st.lists(st.lists(SEGMENTS, min_size=1, max_size=2).map("/".join), max_size=3).map(tuple),
    st.sampled_from([frozenset(), frozenset({".safetensors"}), frozenset({".safetensors", ".ckpt"})]),
)


def rules_of(table: dict[str, str]) -> tuple[FolderRule, ...]:
    return tuple(sorted((FolderRule(p, f) for p, f in table.items()), key=lambda rule: (-len(rule.prefix), rule.prefix)))


def listing_of(keys: list[str], prefix: str = "") -> Listing:
    builder = ListingBuilder("near", "https://e", "bucket", prefix)
    builder.add(
        RemoteObject("near", ObjectId("https://e", "bucket", key, f"v{n}"), n, n / 4, "GLACIER" if n % 3 == 0 else "STANDARD")
        for n, key in enumerate(keys)
    )
    return builder.build(listed_s=12.5)


def by_definition(key: str, view: FolderView, prefix: str, rules: tuple[FolderRule, ...]) -> list[str]:
    """Every name under which the words of the documentation show this key in this folder."""
    inside = key[len(prefix) :]
    owner = next((rule for rule in rules if inside.startswith(rule.prefix)), None)
    if owner is not None:
        mine = owner.folder == view.folder or owner.folder in view.directories
        names = [inside[len(owner.prefix) :]] if mine else []
    else:
        names = [inside[len(d) + 1 :] for d in view.directories if inside.startswith(d + "/")]
    return [name for name in names if not view.extensions or name.lower().endswith(tuple(view.extensions))]


@given(st.lists(PATHS, max_size=12), VIEWS, PREFIXES, st.dictionaries(PREFIXES, st.sampled_from(["loras", "checkpoints", "a"]), max_size=4))
def test_a_listing_shows_exactly_what_the_documentation_says(paths, view, prefix, table):
    rules = rules_of(table)
    listing = listing_of([prefix + path for path in paths], prefix)
    found = sources(view, prefix, rules)
    shown = {name for source in found for name in listing.names(view, source) if name}
    assert shown == {name for key in listing.keys for name in by_definition(key, view, prefix, rules) if name}
    for name in shown:
        hits = [hit for source in found if (hit := listing.find(view, source, name))]
        assert hits and all(name in by_definition(hit.id.key, view, prefix, rules) for hit in hits)


@given(st.lists(PATHS, max_size=20))
def test_a_listing_is_sorted_and_unique_and_keeps_each_row_together(paths):
    listing = listing_of(paths)
    last = {path: n for n, path in enumerate(paths)}
    assert list(listing.keys) == sorted(last)
    for obj in listing.objects():
        n = last[obj.id.key]
        assert (obj.id.version, obj.size_bytes, obj.modified_s, obj.storage_class == "GLACIER") == (f"v{n}", n, n / 4, n % 3 == 0)


UNSAFE = (
    *("", "/abs", "a//b", "a/", ".", "..", "../a", "a/../b", "a/./b", "./a", "a\\b", "C:/x", "c:x", "a/d:/x"),
    *("nul\0", "line\nbreak", "tab\t", "\x7f", "\x85", "\u2028x", "half\ud800"),
    *("CON", "con.safetensors", "a/AUX.tar.gz", "Com1.safetensors", "lpt¹", "nul .txt", "dot.", "blank ", "a. /b"),
    *("x" * 256, "日" * 86, "/".join(["x" * 200] * 6)),
)
SAFE = (
    *("a", "a.safetensors", "a/b c/d+e%20.safetensors", ".hidden", "..a", "a..b", "console.txt", "com10.bin"),
    *("模型/שלום.safetensors", "👩\u200d🎤.sft", "nfd/e\u0301", "<img src=x onerror=alert(1)>", "a'b\"c;d"),
    *("x" * 255, "/".join(["x" * 200] * 5)),
)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_special_to_any_file_system_is_unsafe(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", SAFE)
def test_an_odd_but_harmless_name_is_safe(name):
    assert is_safe_name(name, windows=False)
    assert lookup_name(name) == name


@given(st.text(max_size=40))
@example("a/b")
@example("a\\..\\b")
def test_a_safe_name_is_its_own_lookup_and_a_lookup_never_leaves_the_folder(name):
    assert not is_safe_name(name) or lookup_name(name) == name
    looked_up = lookup_name(name)
    assert not looked_up.startswith("/") and ".." not in looked_up.split("/") and "\\" not in looked_up


def test_windows_refuses_more():
    assert is_safe_name("a?b", windows=False) and not is_safe_name("a?b", windows=True)


# -- snapshot --------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(st.text(max_size=20).filter(is_safe_name), max_size=30), st.text(max_size=10))
def test_what_is_written_is_read_again(tmp_path_factory, keys, fingerprint):
    file = tmp_path_factory.mktemp("s") / "c"
    listing = listing_of([f"p/{key}" for key in keys], "p/")
    write_snapshot(file, fingerprint, [listing])
    (again,) = read_snapshot(file, fingerprint, {"near": "p/"})
    assert list(again.objects()) == list(listing.objects())
    assert (again.skipped, again.cut, again.listed_s) == (listing.skipped, listing.cut, listing.listed_s)


def test_more_rows_than_a_chunk_come_back_in_order(tmp_path):
    listing = listing_of([f"k/{n:05}" for n in range(4321)])
    write_snapshot(tmp_path / "c", "f", [listing, listing_of([])])
    first, second = read_snapshot(tmp_path / "c", "f", {"near": ""})
    assert list(first.keys) == list(listing.keys) and len(second) == 0


def test_only_the_owner_can_read_it_and_nothing_is_left_beside_it(tmp_path):
    write_snapshot(tmp_path / "new" / "c", "f", [listing_of(["a"])])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["c"]
    if os.name == "posix":
        assert (tmp_path / "new" / "c").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def written(tmp_path):
    file = tmp_path / "c"
    write_snapshot(file, "f", [listing_of(["a/b", "a/c"])])
    return file


@settings(max_examples=60)
@given(st.data())
def test_a_torn_or_altered_file_is_refused_or_reads_as_safe_names(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("s") / "c"
    write_snapshot(file, "f", [listing_of(["a/b", "a/c", "d/e"])])
    raw = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 2))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)
    try:
        listings = read_snapshot(file, "f", {"near": ""})
    except SnapshotUnreadable:
        return
    assert all(is_safe_name(key) for one in listings for key in one.keys)


@pytest.mark.parametrize(
    "change",
    [
        {"keys": ["../up", "a/c"]},
        {"keys": ["a/c", "a/b"]},
        {"keys": ["a/b", "a/b"]},
        {"keys": ["a/b"]},
        {"keys": [1, 2]},
        {"versions": ["v", None]},
        {"sizes": [1, -1]},
        {"sizes": [1, "2"]},
        {"sizes": [1, 2**70]},
        {"modified_s": ["now", 1]},
    ],
    ids=str,
)
def test_rows_that_cannot_be_are_refused(written, change):
    lines = written.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    written.write_text("\n".join(lines) + "\n")
    with pytest.raises(SnapshotUnreadable):
        read_snapshot(written, "f", {"near": ""})


def test_other_formats_other_configurations_pickles_and_nothing_are_refused(written, tmp_path):
    lines = written.read_text().splitlines()
    others = {
        "format": "\n".join([lines[0].replace('"format":1', '"format":2'), *lines[1:]]).encode(),
        "pickle": pickle.dumps([1]),
        "empty": b"",
        "deep": b"[" * 100_000,
        "no end": "\n".join(lines[:-1]).encode(),
        "binary": b"\xff\xfe\x00",
    }
    for name, raw in others.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(SnapshotUnreadable):
            read_snapshot(tmp_path / name, "f", {"near": ""})
    with pytest.raises(SnapshotUnreadable, match="configuration"):
        read_snapshot(written, "g", {"near": ""})
    with pytest.raises(SnapshotUnreadable, match="absent"):
        read_snapshot(tmp_path / "absent", "f", {"near": ""})
    with pytest.raises(SnapshotUnreadable):
        read_snapshot(written, "f", {"another": ""})
