"""Is what lies in the bucket now what was sent?  By what the server says of it, or by reading all of it back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .checksum import crc64, crc64_of
from .errors import CorruptObject, ModelStreamError
from .front import PinnedReader
from .objects import Extent, ObjectId, RemoteObject
from .origin import Origin
from .publish_bucket import Stated
from .publish_source import Hashes

READ_BYTES = 8 << 20
READERS = 4
_BROKEN_STEP = "push it again with --overwrite; if it happens again, the network or the server damages what it is sent"


def compare(subject: str, stated: Stated, size_bytes: int, hashes: Hashes, push_id: str, *, md5: bool) -> str:
    """How it was verified: "crc64nvme", "md5" (the parts were) or "size".  Raises CorruptObject or NameTaken's cousin."""
    if push_id and stated.metadata.get("push-id", push_id) != push_id:
        step = "look at what is there now; push again with --overwrite to replace it"
        raise CorruptObject("somebody else's object lies there now", subject=subject, cause="its push-id is another", next_step=step)
    if stated.size_bytes != size_bytes:
        raise _broken(subject, f"it has {stated.size_bytes} bytes in the bucket and {size_bytes} here")
    if stated.crc64 is None:
        return "md5" if md5 else "size"
    if stated.crc64 != hashes.crc64:
        raise _broken(subject, "its CRC64NVME in the bucket is not the file's")
    return "crc64nvme"


def read_back(origin: Origin, key: str, stated: Stated, hashes: Hashes, show: Callable[[int], None] = lambda done: None) -> None:
    """Reads the whole object over several connections and compares its CRC64NVME with the file's.  Blocks.

    Raises CorruptObject, or what reading raises.
    """
    version = ObjectId(origin.endpoint, origin.bucket, key, stated.etag)
    obj = RemoteObject(origin.name, version, stated.size_bytes, stated.modified_s, stated.storage_class)
    starts = iter(range(0, stated.size_bytes, READ_BYTES))
    found: list[Extent] = []
    errors: list[BaseException] = []
    lock = threading.Lock()

    def read() -> None:
        try:
            with PinnedReader(origin, obj) as reader:
                while not errors:
                    with lock:
                        start = next(starts, None)
                    if start is None:
                        return
                    piece = reader.read(start, READ_BYTES)
                    with lock:
                        found.append(Extent(start, len(piece), crc64(piece)))
                        show(sum(extent.length for extent in found))
        except BaseException as error:  # handed to the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=read, name="modelstream-readback", daemon=True) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    subject = origin.subject(key)
    try:
        total = crc64_of(found, stated.size_bytes)
    except ValueError as error:
        raise _broken(subject, str(error)) from None
    if total != hashes.crc64:
        raise _broken(subject, "what was read back has another CRC64NVME than the file")


def _broken(subject: str, cause: str) -> ModelStreamError:
    return CorruptObject("the object in the bucket is not the file", subject=subject, cause=cause, next_step=_BROKEN_STEP)
