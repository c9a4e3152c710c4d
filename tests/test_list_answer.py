"""Rows cut out of a listing say what botocore would have said; what is unusual is left to botocore."""

from __future__ import annotations

from datetime import datetime, timezone
from xml.sax.saxutils import escape

import botocore.session
import pytest
from botocore.parsers import ResponseParserError, RestXMLParser
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.list_answer import ROWS, Page, cut_rows, rows_of, seconds_of

SHAPE = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), min_size=1, max_size=12)
OBJECTS = st.lists(st.tuples(TEXT, st.integers(0, 2**50), st.sampled_from(["", "<StorageClass>GLACIER</StorageClass>"])), max_size=20)


def contents(key: str, size: int, more: str = "") -> str:
    owner = "<Owner><ID>1</ID><DisplayName>Key</DisplayName></Owner><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
        f"<ETag>&quot;e-{size}&quot;</ETag><Size>{size}</Size>{owner}{more}</Contents>"
    )


def answer(inside: str, root: str = "ListBucketResult") -> bytes:
    name = '<?xml version="1.0" encoding="UTF-8"?>'
    tail = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
    return f'{name}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>{inside}{tail}</{root}>'.encode()


def parsed(body: bytes, *, cut: bool) -> dict:
    response, extra = {"body": body, "headers": {}, "status_code": 200}, {}
    if cut:
        cut_rows(response_dict=response, customized_response_dict=extra, operation_model=None)
    return {**RestXMLParser().parse(response, SHAPE), **extra}


def said(answer: dict) -> list[tuple]:
    rows = rows_of(answer)
    return list(zip(rows.keys, rows.sizes, rows.etags, map(seconds_of, rows.modified), rows.classes, strict=True))


@given(OBJECTS, st.sampled_from(["", "\n  "]))
def test_rows_are_what_botocore_reads(objects, between):
    body = answer(between.join(contents(*one) for one in objects))
    cut, whole = parsed(body, cut=True), parsed(body, cut=False)
    assert said(cut) == said(whole)
    assert ("Contents" in cut, ROWS in cut) == (False, bool(objects))
    assert (cut["Name"], cut["IsTruncated"], cut["NextContinuationToken"]) == ("b", True, "t&1")


@pytest.mark.parametrize(
    "body",
    [
        answer(contents("a", 1) + "<KeyCount>2</KeyCount>" + contents("b", 2)),
        answer(contents("a", 1).replace("<Size>1</Size>", "<Size>one</Size>")),
        answer(contents("a", 1), root="Error"),
        answer(contents("a", 1))[:-20],
        answer(contents("a", 1)).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        b"<html>a portal</html>",
        b"",
    ],
    ids=["something between rows", "no number", "an error", "cut off", "another encoding", "no XML of S3", "nothing"],
)
def test_what_is_unusual_is_left_as_it_was(body):
    response, extra = {"body": body, "headers": {}, "status_code": 200}, {}
    cut_rows(response_dict=response, customized_response_dict=extra)
    assert (response["body"], extra) == (body, {})


def test_a_torn_answer_is_still_botocores_error():
    with pytest.raises(ResponseParserError):
        parsed(answer(contents("a", 1))[:-20], cut=True)


def test_encoded_keys_are_decoded_as_botocore_does_it():
    extra = parsed(answer(contents("a+b%2Fc%20d", 1)), cut=True)
    assert rows_of({**extra, "EncodingType": "url"}).keys == ["a b/c d"]


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.000000000Z", "2026-01-02T04:04:05+01:00"]
)
def test_times_as_servers_write_them(text):
    assert seconds_of(text) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()


def test_a_page_makes_its_objects_when_asked():
    page = Page("near", "http://e", "b", ["k1", "k2"], ["v1", "v2"], [1, 2], [3.0, 4.0], ["STANDARD", "GLACIER"])
    assert [obj.id.key for obj in page] == ["k1", "k2"] and page[-1].storage_class == "GLACIER" and len(page[:1]) == 1
