"""What no client can beat: parts from warm memory into plain sockets.  ``python -m bench.push_raw ENDPOINT BUCKET …``

Prints its own seconds, from the first byte until the upload is ended: neither Python's start nor reading the file counts.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def main() -> int:
    import boto3
    from botocore.config import Config

    endpoint, bucket, access_key, secret_key, key, file, connections, part_mib = sys.argv[1:]
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
    config = Config(s3={"addressing_style": "path"}, signature_version="s3v4", request_checksum_calculation="when_required")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)
    content = memoryview(Path(file).read_bytes())
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    work: queue.SimpleQueue[tuple[int, str, memoryview] | None] = queue.SimpleQueue()
    size = int(part_mib) << 20
    for number, start in enumerate(range(0, len(content), size), 1):
        url = client.generate_presigned_url("upload_part", Params={**where, "PartNumber": number}, ExpiresIn=3600)
        work.put((number, url, content[start : start + size]))
    etags: dict[int, str] = {}
    began_s = time.perf_counter()
    threads = [threading.Thread(target=send_parts, args=(work, endpoint, etags)) for _ in range(int(connections))]
    for thread in threads:
        work.put(None)
        thread.start()
    for thread in threads:
        thread.join()
    parts: list[Any] = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    print(time.perf_counter() - began_s)
    return 0


def send_parts(work: queue.SimpleQueue[tuple[int, str, memoryview] | None], endpoint: str, etags: dict[int, str]) -> None:
    server = urlsplit(endpoint)
    with socket.create_connection((server.hostname or "", server.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (part := work.get()) is not None:
            number, url, piece = part
            line = urlsplit(url)
            head = f"PUT {line.path}?{line.query} HTTP/1.1\r\nHost: {line.netloc}\r\nContent-Length: {len(piece)}\r\n\r\n"
            connection.sendall(head.encode())
            connection.sendall(piece)
            etags[number] = answer_etag(connection)


def answer_etag(connection: socket.socket) -> str:
    text = b""
    while b"\r\n\r\n" not in text:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        text += more
    lines = text.decode("latin-1").split("\r\n")
    if " 200 " not in lines[0]:
        raise ConnectionError(lines[0])
    return next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("etag:"))


if __name__ == "__main__":
    sys.exit(main())
