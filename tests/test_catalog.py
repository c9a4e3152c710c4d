"""The catalog: what it shows, and what it does when an origin fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from modelstream.storage.catalog import Catalog
from modelstream.storage.config import CatalogConfig, Config, OriginConfig
from modelstream.storage.errors import AccessDenied, OriginUnreachable
from modelstream.storage.events import CatalogRefreshed, CatalogRefreshFailed, CatalogTrimmed, EventBus, TierDegraded
from modelstream.storage.layout import FolderView
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.origin import Origin
from rig.invariants import eventually

CHECKPOINTS = FolderView("checkpoints", ("checkpoints",), frozenset({".safetensors", ".ckpt"}))
UNETS = FolderView("diffusion_models", ("unet", "diffusion_models"), frozenset({".safetensors"}))
ENDPOINT = "https://s3.example.com"


def origin_config(name: str = "near", extra: str = "") -> OriginConfig:
    return Config.from_text(f'[profiles.m]\nendpoint = "{ENDPOINT}"\n[[origins]]\nname = "{name}"\nbucket = "{name}-b"\n{extra}').origins[0]


class FakeOrigin:
    """An origin whose listing the test decides.  ``before_page`` may block or raise."""

    endpoint = ENDPOINT

    def __init__(self, *keys: str, name: str = "near", extra: str = "", page_size: int = 1000) -> None:
        self.config = origin_config(name, extra)
        self.objects = dict.fromkeys(keys, "v1")
        self.page_size = page_size
        self.listings = 0
        self.before_page: Callable[[int], None] = lambda page: None

    def list_pages(self) -> Iterator[tuple[RemoteObject, ...]]:
        self.listings += 1
        keys = sorted(self.objects)
        for number, low in enumerate(range(0, max(len(keys), 1), self.page_size)):
            self.before_page(number)
            yield tuple(self.object(key) for key in keys[low : low + self.page_size])

    def object(self, key: str) -> RemoteObject:
        return RemoteObject(self.config.name, ObjectId(ENDPOINT, self.config.bucket, key, self.objects[key]), len(key), 1.5)


def catalog_of(*origins: object, seen: list | None = None, **options: object) -> Catalog:
    bus = EventBus()
    if seen is not None:
        bus.subscribe(seen.append)
    settings = options.pop("settings", CatalogConfig())
    return Catalog(origins, settings, bus, **options)


def listed(*origins: object, **options: object) -> Catalog:
    catalog = catalog_of(*origins, **options)
    assert catalog.refresh(wait=True)
    return catalog


# -- names and lookups -----------------------------------------------------------------------------------------------


def test_names_are_sorted_filtered_and_the_same_tuple_until_something_changes():
    origin = FakeOrigin("checkpoints/b/x.safetensors", "checkpoints/a.CKPT", "checkpoints/readme.md", "loras/l.safetensors")
    catalog = listed(origin)
    names = catalog.names(CHECKPOINTS)
    assert names == ("a.CKPT", "b/x.safetensors")
    assert catalog.names(CHECKPOINTS) is names
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) is names and catalog.generation == 1
    origin.objects["checkpoints/c.safetensors"] = "v1"
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) == ("a.CKPT", "b/x.safetensors", "c.safetensors") and catalog.generation == 2


def test_backslash_and_slash_both_find_the_object_and_nothing_leads_out_of_the_folder():
    catalog = listed(FakeOrigin("checkpoints/b/x.safetensors", "loras/l.safetensors"))
    for name in ("b/x.safetensors", "b\\x.safetensors", "./b//x.safetensors", "/b/x.safetensors"):
        found = catalog.find(CHECKPOINTS, name)
        assert found is not None and found.id.key == "checkpoints/b/x.safetensors", name
    for name in ("x.safetensors", "../loras/l.safetensors", "..\\loras\\l.safetensors", "", ".", "b", "b/x"):
        assert catalog.find(CHECKPOINTS, name) is None, name


def test_several_directories_and_origins_make_one_list_and_the_nearest_wins():
    near = FakeOrigin("diffusion_models/both.safetensors", "unet/near.safetensors", "diffusion_models/near.safetensors")
    far = FakeOrigin("diffusion_models/both.safetensors", "unet/far.safetensors", name="far")
    catalog = listed(near, far)
    assert catalog.names(UNETS) == ("both.safetensors", "far.safetensors", "near.safetensors")
    assert catalog.find(UNETS, "both.safetensors").origin == "near"
    assert catalog.find(UNETS, "far.safetensors").origin == "far"
    assert catalog.find(UNETS, "near.safetensors").id.key == "unet/near.safetensors", "the view's first directory"
    assert [obj.origin for obj in catalog.objects()] == ["near"] * 3 + ["far"] * 2


def test_rules_win_over_directories_and_nested_rules_over_outer_ones():
    extra = 'prefix = "m"\nfolders = { "sd/" = "checkpoints", "sd/loras/" = "loras", "checkpoints/flux/" = "unet" }'
    origin = FakeOrigin(
        "m/sd/a.safetensors", "m/sd/loras/l.safetensors", "m/checkpoints/c.safetensors", "m/checkpoints/flux/f.safetensors", extra=extra
    )
    catalog = listed(origin)
    assert catalog.names(CHECKPOINTS) == ("a.safetensors", "c.safetensors")
    assert catalog.names(UNETS) == ("f.safetensors",), "a rule may name the folder by one of its directories"
    assert catalog.names(FolderView("loras", ("loras",), frozenset())) == ("l.safetensors",)
    assert catalog.find(CHECKPOINTS, "flux/f.safetensors") is None and catalog.find(CHECKPOINTS, "loras/l.safetensors") is None
    assert catalog.find(UNETS, "f.safetensors").id.key == "m/checkpoints/flux/f.safetensors"


def test_a_folder_of_a_node_pack_may_read_a_directory_of_several_segments():
    view = FolderView("ipadapter", ("models/ip adapter",), frozenset())
    catalog = listed(FakeOrigin("models/ip adapter/x/any.thing", "models/ip adapters/no.bin"))
    assert catalog.names(view) == ("x/any.thing",)


def test_unsafe_names_are_left_out_counted_and_told_once():
    seen: list = []
    origin = FakeOrigin(
        "checkpoints/ok.safetensors", "checkpoints/../up.safetensors", "checkpoints/a\\b.safetensors", "checkpoints//x.ckpt"
    )
    catalog = listed(origin, seen=seen)
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) == ("ok.safetensors",)
    assert [e for e in seen if isinstance(e, CatalogTrimmed)] == [CatalogTrimmed("near", 3, False)]
    assert catalog.states()[0].skipped == 3


def test_a_listing_that_is_too_long_is_cut_and_says_so():
    seen: list = []
    origin = FakeOrigin(*(f"checkpoints/{i:03}.ckpt" for i in range(100)), page_size=10)
    catalog = listed(origin, seen=seen, settings=CatalogConfig(max_objects=30))
    assert len(catalog.names(CHECKPOINTS)) == 30 and CatalogTrimmed("near", 0, True) in seen and catalog.states()[0].cut


# -- digests ---------------------------------------------------------------------------------------------------------


def test_every_listed_object_is_found_by_its_digest():
    catalog = listed(FakeOrigin("checkpoints/a.ckpt", "loras/b.safetensors"), FakeOrigin("x/y.bin", name="far"))
    for obj in catalog.objects():
        assert catalog.by_digest(obj.id.digest) == obj
    assert catalog.by_digest("0" * 64) is None


def test_an_object_that_was_handed_out_stays_known_when_it_is_overwritten_or_gone():
    origin = FakeOrigin("checkpoints/a.ckpt", "checkpoints/b.ckpt")
    catalog = listed(origin)
    a, b = catalog.find(CHECKPOINTS, "a.ckpt"), catalog.find(CHECKPOINTS, "b.ckpt")
    origin.objects = {"checkpoints/a.ckpt": "v2"}
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) == ("a.ckpt",) and catalog.find(CHECKPOINTS, "a.ckpt").id.version == "v2"
    assert catalog.by_digest(a.id.digest) == a and catalog.by_digest(b.id.digest) == b


def test_a_newer_version_that_a_transfer_found_replaces_the_listed_one():
    origin = FakeOrigin("checkpoints/a.ckpt", "checkpoints/b.ckpt")
    catalog = listed(origin)
    names = catalog.names(CHECKPOINTS)
    old = catalog.find(CHECKPOINTS, "a.ckpt")
    origin.objects["checkpoints/a.ckpt"] = "v2"
    new = origin.object("checkpoints/a.ckpt")
    catalog.replace(old, new)
    assert catalog.find(CHECKPOINTS, "a.ckpt") == new and catalog.generation == 2 and catalog.names(CHECKPOINTS) is names
    assert catalog.by_digest(old.id.digest) == old and catalog.by_digest(new.id.digest) == new
    catalog.replace(old, RemoteObject("near", ObjectId(ENDPOINT, "near-b", "checkpoints/a.ckpt", "v0"), 1, 1.0))
    assert catalog.find(CHECKPOINTS, "a.ckpt") == new, "a late message about an older version changes nothing"


# -- outages ---------------------------------------------------------------------------------------------------------


def _fail(error: Exception) -> Callable[[int], None]:
    def before_page(page: int) -> None:
        raise error

    return before_page


@pytest.mark.parametrize("error", [OriginUnreachable("down"), AccessDenied("no"), RuntimeError("a bug")])
def test_an_outage_is_not_a_deletion(error):
    seen: list = []
    origin = FakeOrigin("checkpoints/a.ckpt")
    catalog = listed(origin, seen=seen)
    origin.before_page = _fail(error)
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) == ("a.ckpt",)
    (failed,) = [e for e in seen if isinstance(e, CatalogRefreshFailed)]
    state = catalog.states()[0]
    assert failed.origin == "near" and state.error.code == failed.code and state.listed_s is not None and not state.refreshing
    origin.before_page = lambda page: None
    catalog.refresh(wait=True)
    assert catalog.states()[0].error is None


def test_a_listing_that_breaks_off_in_the_middle_takes_nothing_away():
    origin = FakeOrigin(*(f"checkpoints/{i}.ckpt" for i in range(10)), page_size=2)
    catalog = listed(origin)
    names = catalog.names(CHECKPOINTS)

    def break_off(page: int) -> None:
        if page == 3:
            raise OriginUnreachable("down")

    origin.before_page = break_off
    catalog.refresh(wait=True)
    assert catalog.names(CHECKPOINTS) is names


def test_only_a_complete_listing_removes_a_name():
    seen: list = []
    origin = FakeOrigin("checkpoints/a.ckpt", "checkpoints/b.ckpt")
    catalog = listed(origin, seen=seen)
    del origin.objects["checkpoints/a.ckpt"]
    catalog.refresh(wait=True)
    refreshed = [e for e in seen if isinstance(e, CatalogRefreshed)]
    assert catalog.names(CHECKPOINTS) == ("b.ckpt",) and [(e.added, e.removed) for e in refreshed] == [(2, 0), (0, 1)]


def test_an_origin_that_is_down_does_not_hide_the_others():
    near, far = FakeOrigin(name="near"), FakeOrigin("checkpoints/a.ckpt", name="far")
    near.before_page = _fail(OriginUnreachable("down"))
    catalog = listed(near, far)
    assert catalog.names(CHECKPOINTS) == ("a.ckpt",)
    assert [state.error is None for state in catalog.states()] == [False, True]


# -- the background thread -------------------------------------------------------------------------------------------


def test_readers_are_answered_while_a_listing_hangs_and_the_first_pages_show_already():
    origin = FakeOrigin(*(f"checkpoints/{i}.ckpt" for i in range(6)), page_size=2)
    hanging, go_on = threading.Event(), threading.Event()

    def hang(page: int) -> None:
        if page == 2:
            hanging.set()
            assert go_on.wait(10)

    origin.before_page = hang
    catalog = catalog_of(origin)
    catalog.start()
    try:
        assert hanging.wait(10)
        assert catalog.names(CHECKPOINTS)[:2] == ("0.ckpt", "1.ckpt") and catalog.states()[0].refreshing
        go_on.set()
        assert catalog.refresh(wait=True, timeout_s=10)
        assert len(catalog.names(CHECKPOINTS)) == 6
    finally:
        go_on.set()
        catalog.close()


def test_many_who_ask_while_one_listing_runs_share_the_next_one():
    origin = FakeOrigin("checkpoints/a.ckpt")
    first, go_on = threading.Event(), threading.Event()

    def hang(page: int) -> None:
        first.set()
        assert go_on.wait(10)

    origin.before_page = hang
    catalog = catalog_of(origin)
    catalog.start()
    try:
        assert first.wait(10)
        origin.objects["checkpoints/b.ckpt"] = "v1"  # the listing under way may have passed it already
        answers: list[bool] = []
        askers = [threading.Thread(target=lambda: answers.append(catalog.refresh(wait=True, timeout_s=10))) for _ in range(8)]
        for asker in askers:
            asker.start()
        assert eventually(lambda: catalog._asked == 8)
        go_on.set()
        for asker in askers:
            asker.join(10)
        assert answers == [True] * 8 and origin.listings == 2
        assert catalog.names(CHECKPOINTS) == ("a.ckpt", "b.ckpt")
    finally:
        go_on.set()
        catalog.close()


def test_close_ends_the_thread_and_waiters_are_not_left_hanging():
    catalog = catalog_of(FakeOrigin("checkpoints/a.ckpt"))
    catalog.start()
    thread = catalog._thread
    catalog.close()
    assert thread is not None and not thread.is_alive()
    assert not catalog.refresh(wait=True) and not any(t.name == "modelstream-catalog" for t in threading.enumerate())


def test_after_a_failure_it_tries_again_soon_and_after_a_long_listing_late():
    catalog = catalog_of(FakeOrigin(), settings=CatalogConfig(refresh_s=300))
    assert [catalog._pause_s(1.0, failures) for failures in (0, 1, 2, 5, 50)] == [300, 15, 30, 240, 300]
    assert catalog._pause_s(60.0, 0) == 1200
    never = catalog_of(FakeOrigin(), settings=CatalogConfig(refresh_s=0))
    assert never._pause_s(1.0, 0) is None and never._pause_s(1.0, 1) == 15


# -- restart ---------------------------------------------------------------------------------------------------------


def test_the_next_start_lists_at_once_also_when_the_origin_is_down(tmp_path):
    file = tmp_path / "state" / "catalog.json"
    before = listed(FakeOrigin("checkpoints/ä b.ckpt", "loras/l.safetensors"), snapshot=file, fingerprint="f")
    origin = FakeOrigin()
    origin.before_page = _fail(OriginUnreachable("down"))
    after = catalog_of(origin, snapshot=file, fingerprint="f")
    after.start()
    try:
        assert after.names(CHECKPOINTS) == ("ä b.ckpt",) and list(after.objects()) == list(before.objects())
        assert after.states()[0].listed_s == before.states()[0].listed_s
    finally:
        after.close()


def test_a_snapshot_of_another_configuration_is_not_shown(tmp_path):
    file = tmp_path / "catalog.json"
    listed(FakeOrigin("checkpoints/a.ckpt"), snapshot=file, fingerprint="one")
    origin = FakeOrigin()
    origin.before_page = _fail(OriginUnreachable("down"))
    other = catalog_of(origin, snapshot=file, fingerprint="two")
    other.start()
    other.close()
    assert other.names(CHECKPOINTS) == ()


def test_a_large_snapshot_is_read_by_the_thread(tmp_path, monkeypatch):
    file = tmp_path / "catalog.json"
    listed(FakeOrigin("checkpoints/a.ckpt"), snapshot=file)
    monkeypatch.setattr("modelstream.storage.catalog._SNAPSHOT_AT_ONCE_BYTES", 10)
    origin = FakeOrigin()
    origin.before_page = _fail(OriginUnreachable("down"))
    after = catalog_of(origin, snapshot=file)
    after.start()
    try:
        assert after.refresh(wait=True, timeout_s=10)
        assert after.names(CHECKPOINTS) == ("a.ckpt",)
    finally:
        after.close()


def test_a_snapshot_that_cannot_be_written_is_told_once_and_harms_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    seen: list = []
    origin = FakeOrigin("checkpoints/a.ckpt")
    catalog = listed(origin, seen=seen, snapshot=tmp_path / "file" / "catalog.json")
    origin.objects["checkpoints/b.ckpt"] = "v1"
    catalog.refresh(wait=True)
    assert len(catalog.names(CHECKPOINTS)) == 2
    assert [e.code for e in seen if isinstance(e, TierDegraded)] == ["snapshot"]


# -- a real server ---------------------------------------------------------------------------------------------------


def test_a_real_bucket_is_listed_with_its_changes(seaweed, bucket, tmp_path):
    client = seaweed.client()
    for key in ("checkpoints/sub dir/模型+1.safetensors", "loras/a.safetensors", "checkpoints/dir/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else b"12345")
    keys = f'access_key_id = "{seaweed.access_key}"\nsecret_access_key = "{seaweed.secret_key}"'
    config = Config.from_text(f'[profiles.m]\nendpoint = "{seaweed.endpoint}"\n{keys}\n[[origins]]\nbucket = "{bucket}"')
    catalog = catalog_of(Origin(config.origins[0]), snapshot=tmp_path / "c", fingerprint=config.listing_fingerprint())
    catalog.start()
    try:
        assert catalog.refresh(wait=True, timeout_s=20)
        assert catalog.names(CHECKPOINTS) == ("sub dir/模型+1.safetensors",)
        old = catalog.find(CHECKPOINTS, "sub dir\\模型+1.safetensors")
        assert old.size_bytes == 5
        client.put_object(Bucket=bucket, Key=old.id.key, Body=b"123456")
        client.delete_object(Bucket=bucket, Key="loras/a.safetensors")
        assert catalog.refresh(wait=True, timeout_s=20)
        new = catalog.find(CHECKPOINTS, "sub dir/模型+1.safetensors")
        assert new.size_bytes == 6 and new.id.digest != old.id.digest
        assert len(list(catalog.objects())) == 1
    finally:
        catalog.close()
