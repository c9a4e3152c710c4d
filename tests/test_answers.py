"""What is taken for the answer to a ranged GET, and what every other answer means: cases 3, 10-28 and 52 without a wire."""

from __future__ import annotations

from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage import errors
from modelstream.storage.answers import RANGE_IGNORED, Asked, Refused, Then, check_part, error_code, plain_etag, read_head, refusal_of
from modelstream.storage.checksum import to_header

ASKED = Asked(1000, 3000, 10_000, "v1")
WHOLE = Asked(0, 10_000, 10_000, "v1")
SUBJECT = "origin:key"


def fields(**given: str | None) -> Message:
    message = Message()
    for name, value in given.items():
        if value is not None:
            message[name.replace("_", "-")] = value
    return message


def right(**changed: str | None) -> Message:
    answer: dict[str, str | None] = {"Content_Range": "bytes 1000-2999/10000", "Content_Length": "2000", "ETag": '"v1"'}
    return fields(**{**answer, **changed})


def refused(asked: Asked, status: int, headers: Message):
    with pytest.raises(Refused) as caught:
        check_part(asked, status, headers, SUBJECT)
    error = caught.value.refusal.error
    assert error.subject == SUBJECT and error.cause and error.next_step
    return caught.value.refusal


def test_a_range_is_asked_for_with_inclusive_ends_and_pinned():
    assert ASKED.headers == {"Range": "bytes=1000-2999", "If-Match": '"v1"'}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, right()),
        (200, right()),  # 18: rclone
        (206, right(ETag=None)),
        (206, right(ETag='W/"v1"')),
        (206, right(Content_Length=None)),
        (206, right(Content_Length="1500")),  # completed by asking for the rest
        (206, right(Content_Encoding="gzip")),  # 52
        (206, right(Content_Type="text/html")),  # an object may be a page
    ],
)
def test_the_right_answer_is_taken(status, headers):
    check_part(ASKED, status, headers, SUBJECT)
    assert headers["Content-Range"]


def test_a_whole_body_is_taken_only_when_the_whole_was_asked_for():
    body = fields(Content_Length="10000", ETag='"v1"')
    check_part(WHOLE, 200, body, SUBJECT)
    assert refused(ASKED, 200, body).reason == RANGE_IGNORED
    assert refused(Asked(0, 9_999, 10_000, "v1"), 200, body).reason == RANGE_IGNORED
    assert refused(WHOLE, 200, fields(Content_Length="9999", ETag='"v1"')).then is Then.RETRY
    assert refused(WHOLE, 206, body).reason == "range"


@pytest.mark.parametrize(
    ("changed", "reason", "then"),
    [
        ({"Content_Range": "bytes 1001-2999/10000"}, "range", Then.RETRY),
        ({"Content_Range": "bytes 1000-2998/10000"}, "range", Then.RETRY),
        ({"Content_Range": "bytes 1000-2999/10001"}, "range", Then.LOOK),
        ({"Content_Range": "bytes 1000-2999/*"}, "range", Then.RETRY),
        ({"Content_Range": "nonsense"}, "range", Then.RETRY),
        ({"ETag": '"v2"'}, "etag", Then.LOOK),
        ({"Content_Length": "2001"}, "length", Then.RETRY),
        ({"Content_Length": "-1"}, "length", Then.RETRY),
        ({"Content_Length": "many"}, "length", Then.RETRY),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(changed, reason, then):
    refusal = refused(ASKED, 206, right(**changed))
    assert (refusal.reason, refusal.then) == (reason, then)


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "application/xml", "text/xml"])
def test_a_page_in_place_of_the_object_is_called_no_s3_answer(kind):
    refusal = refused(ASKED, 200, fields(Content_Type=kind, Content_Length="57"))
    assert refusal.reason == "page"
    assert "not an S3 answer" in str(refusal.error)


@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 12_000))
def test_no_other_content_range_than_the_one_asked_for_is_taken(start, last, total):
    headers = right(Content_Range=f"bytes {start}-{last}/{total}")
    if (start, last, total) == (1000, 2999, 10_000):
        check_part(ASKED, 206, headers, SUBJECT)
    else:
        assert refused(ASKED, 206, headers).reason == "range"


def xml(code: str, message: str = "m") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "then", "kind"),
    [
        (503, "SlowDown", Then.THROTTLE, errors.Throttled),
        (429, "TooManyRequests", Then.THROTTLE, errors.Throttled),
        (500, "InternalError", Then.RETRY, errors.OriginUnreachable),
        (502, "BadGateway", Then.RETRY, errors.OriginUnreachable),
        (400, "ExpiredToken", Then.SIGN, errors.CredentialsExpired),
        (403, "ExpiredToken", Then.SIGN, errors.CredentialsExpired),
        (403, "RequestTimeTooSkewed", Then.FAIL, errors.ClockSkewed),
        (403, "AccessDenied", Then.FAIL, errors.AccessDenied),
        (403, "InvalidObjectState", Then.FAIL, errors.ObjectArchived),
        (404, "NoSuchKey", Then.FAIL, errors.ObjectMissing),
        (412, "PreconditionFailed", Then.LOOK, errors.ObjectChanged),
        (416, "InvalidRange", Then.LOOK, errors.BadAnswer),
        (301, "PermanentRedirect", Then.FAIL, errors.ModelStreamError),
        (307, "TemporaryRedirect", Then.FAIL, errors.ModelStreamError),
        (400, "Nonsense", Then.RETRY, errors.BadAnswer),
    ],
)
def test_every_error_status_has_one_meaning(status, code, then, kind):
    refusal = refusal_of(status, fields(), xml(code), SUBJECT)
    assert refusal.then is then
    assert isinstance(refusal.error, kind)


def test_an_expired_presigned_url_is_signed_again():
    assert refusal_of(403, fields(), xml("AccessDenied", "Request has expired"), SUBJECT).then is Then.SIGN


@given(st.binary(max_size=300))
def test_any_body_can_be_looked_at_for_an_error_code(body):
    code, _ = error_code(b"<Error>" + body)
    assert all(c.isalnum() or c in "_.-" for c in code)


def test_an_error_code_is_read_from_an_error_only():
    assert error_code(xml("SlowDown", "please")) == ("SlowDown", "please")
    assert error_code(b"<html><Code>SlowDown</Code></html>") == ("", "")


@pytest.mark.parametrize(("sent", "plain"), [('"a"', "a"), ('W/"a"', "a"), ("a", "a"), ('"a-3"', "a-3"), (None, ""), ("", "")])
def test_an_etag_is_an_opaque_tag_without_quotes(sent, plain):
    assert plain_etag(sent) == plain


def head_fields(**more: str) -> Message:
    return fields(Content_Length="77", ETag='"v1"', Last_Modified="Tue, 24 Nov 2026 10:00:00 GMT", **more)


def test_head_tells_the_version_its_size_and_its_checksum():
    more = {"x_amz_checksum_crc64nvme": to_header(99), "x_amz_checksum_type": "FULL_OBJECT", "x_amz_version_id": "abc"}
    head = read_head(200, head_fields(**more), SUBJECT)
    assert (head.size_bytes, head.etag, head.version_id, head.crc64nvme, head.checksum_note) == (77, "v1", "abc", 99, "full")
    assert head.modified_s > 0


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, "none"),
        ({"x_amz_checksum_crc32": "43uRZg==-3", "x_amz_checksum_type": "COMPOSITE"}, "composite"),
        ({"x_amz_checksum_crc32": "43uRZg==-3"}, "composite"),
        ({"x_amz_checksum_crc64nvme": to_header(99), "x_amz_checksum_type": "COMPOSITE"}, "composite"),
        ({"x_amz_checksum_crc32": "43uRZg==", "x_amz_checksum_type": "FULL_OBJECT"}, "none"),
    ],
)
def test_no_other_checksum_is_taken_for_the_objects_own(more, note):
    head = read_head(200, head_fields(**more), SUBJECT)
    assert head.crc64nvme is None
    assert head.checksum_note == note


def test_the_null_version_is_no_version():
    assert read_head(200, head_fields(x_amz_version_id="null"), SUBJECT).version_id is None


def test_a_get_of_one_byte_tells_the_size_by_its_content_range():
    headers = fields(Content_Length="1", ETag='"v1"', Content_Range="bytes 0-0/77")
    assert read_head(206, headers, SUBJECT).size_bytes == 77


@pytest.mark.parametrize("headers", [fields(Content_Length="77"), fields(ETag='"v1"'), head_fields(Content_Type="text/html")])
def test_an_answer_without_etag_or_length_is_no_head(headers):
    with pytest.raises(Refused) as caught:
        read_head(200, headers, SUBJECT)
    assert "not an S3 answer" in str(caught.value.refusal.error)
