"""Faults of listing, and keys that are hard to say.  Numbers are those of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest

from modelstream.storage.errors import BadAnswer, ModelStreamError, OriginUnreachable
from rig import faults
from rig.transfers import TransferRig, made_up, transfer_rig

AWKWARD_KEYS = [
    "odd/plain.safetensors",
    "odd/a b+c&d=e%20f?g#h;i,j:k@l$m!n'(o)*.safetensors",
    "odd/ünïcode/模型/модель.safetensors",
    "odd/e\u0301.safetensors",
    "odd/\u00e9.safetensors",
    "odd/<script>alert(1)</script>.safetensors",
    "odd/\u202egnp.safetensors",
    "odd/Case.safetensors",
    "odd/case.safetensors",
    "odd/new\nline.safetensors",
    "odd/a%2Fb.safetensors",
    'odd/quote".safetensors',
    "odd/…/dots...safetensors",
    "odd/" + "long" * 55 + ".safetensors",
]


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed) as rig:
        yield rig


def page(names: list[str], token: str | None = None) -> faults.Canned:
    """One page of a listing as S3 writes it."""
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e{i}&quot;</ETag>"
        f"<Size>10</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for i, name in enumerate(names)
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    more += f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>models</Name><KeyCount>{len(names)}</KeyCount><MaxKeys>1000</MaxKeys>{more}{rows}</ListBucketResult>"
    )
    return faults.Canned(200, body.encode(), (("Content-Type", "application/xml"),))


def keys_of(rig: TransferRig) -> list[str]:
    return [obj.id.key for one in rig.origin.list_pages() for obj in one]


@pytest.mark.parametrize("key", AWKWARD_KEYS, ids=range(len(AWKWARD_KEYS)))
def test_a_key_that_is_hard_to_say_is_listed_exactly_and_its_object_arrives(rig, key):
    """Case 49."""
    body = made_up(key, 70_000)
    rig.put(key, body)
    found = {obj.id.key: obj for one in rig.origin.list_pages() for obj in one}
    assert key in found
    rig.load(found[key], body)


def test_directory_markers_are_no_models(rig):
    """Case 47."""
    rig.put("marker/dir/", b"")
    rig.put("marker/empty.safetensors", b"")
    keys = keys_of(rig)
    assert "marker/dir/" not in keys
    assert "marker/empty.safetensors" in keys


def test_a_page_of_three_thousand_entries_is_taken_whole(rig):
    """Case 50."""
    names = [f"checkpoints/{i:05}.safetensors" for i in range(3000)]
    rig.proxy.on(page(names), query="list-type=2")
    assert keys_of(rig) == names


def test_a_repeated_continuation_token_is_an_error_and_no_loop(rig):
    """Case 50."""
    rig.proxy.on(page(["a.safetensors"], token="again"), query="list-type=2", times=None)
    assert "token" in str(rig.listing_fails(BadAnswer))
    assert len(rig.proxy.requests("GET")) <= 3


def test_pages_that_never_hold_a_key_are_an_error_and_no_loop(rig):
    """Case 50, with a new token every time."""
    for number in range(300):
        rig.proxy.on(page([], token=f"t{number}"), query="list-type=2")
    rig.listing_fails(BadAnswer)


@pytest.mark.parametrize("action", [faults.html_page(), faults.xml_error_with_status_200()], ids=["html", "xml"])
def test_a_page_that_is_no_listing_is_an_error_and_no_empty_bucket(rig, action):
    """Case 21, LIST."""
    rig.proxy.on(action, query="list-type=2", times=None)
    rig.listing_fails(ModelStreamError)


@pytest.mark.parametrize(
    "action",
    [faults.CutBefore(), faults.CutMid(40), faults.Status(500, "InternalError"), faults.Status(503, "SlowDown")],
    ids=["cut before", "cut", "500", "503"],
)
def test_one_fault_of_a_listing_is_only_a_retry(rig, action):
    """Cases 1, 8 and 10, LIST."""
    rig.put("listing/one.safetensors", b"x")
    rig.proxy.on(action, query="list-type=2")
    assert "listing/one.safetensors" in keys_of(rig)


def test_a_listing_that_stalls_ends_in_an_error(rig):
    """Case 5, LIST."""
    rig.proxy.on(faults.Gate(), query="list-type=2", times=None)
    rig.listing_fails(OriginUnreachable)
