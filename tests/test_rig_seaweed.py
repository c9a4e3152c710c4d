"""The test server itself: if it were lenient, every test on top of it would prove nothing."""

from __future__ import annotations

import http.client

import pytest
from botocore.exceptions import ClientError


def test_it_refuses_a_wrong_key_and_an_anonymous_request(seaweed, bucket):
    seaweed.client().put_object(Bucket=bucket, Key="a/b.bin", Body=b"private")
    stranger = seaweed.client(aws_secret_access_key="wrong" * 8)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket=bucket, Key="a/b.bin")
    connection = http.client.HTTPConnection(seaweed.host, seaweed.port, timeout=10)
    connection.request("GET", f"/{bucket}/a/b.bin")
    assert connection.getresponse().status == 403
    connection.close()


def test_a_range_is_answered_exactly_and_only_for_the_asked_version(seaweed, bucket):
    s3 = seaweed.client()
    etag = s3.put_object(Bucket=bucket, Key="x", Body=bytes(range(256)))["ETag"]
    part = s3.get_object(Bucket=bucket, Key="x", Range="bytes=10-19", IfMatch=etag)
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (part["ContentRange"], part["Body"].read()) == ("bytes 10-19/256", bytes(range(10, 20)))
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="x", Range="bytes=0-1", IfMatch='"other"')
