"""Reads the rows of a ``ListObjectsV2`` answer, in place of botocore's own parser.

botocore makes a tree, and from it a dictionary for each object: 50 ms for a full page, in which other threads have to
wrench the interpreter's lock from it.  The rows are read here as the XML goes by (4 ms, in slices of one), cut out, and the
rest is left to botocore: errors, tokens and everything unusual stay its business.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, overload
from urllib.parse import unquote_plus
from xml.parsers import expat

from .breath import breathe
from .objects import ObjectId, RemoteObject

ROWS = "ModelStreamRows"
"""under this name the rows are in the parsed answer; then it has no "Contents" """

_PIECE = 32 << 10
"""of XML between two breaths: half a millisecond"""
_END = b"</Contents>"
_FIELDS = frozenset({"Key", "Size", "ETag", "LastModified", "StorageClass"})


@dataclass(slots=True)
class Rows:
    """Objects as the answer has them, in columns: lists of texts are nothing that the garbage collector counts or visits."""

    keys: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    etags: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def add(self, key: str, size: int, etag: str, modified: str, storage_class: str) -> None:
        self.keys.append(key)
        self.sizes.append(size)
        self.etags.append(etag)
        self.modified.append(modified)
        self.classes.append(storage_class)


class _Unusual(Exception):
    """Not the plain answer that is read here: botocore reads it all."""


@dataclass(slots=True)
class _Reader:
    """Handlers of one expat parser.  cut: where the run of <Contents> begins and ends, in bytes."""

    rows: Rows = field(default_factory=Rows)
    begin: int = -1
    end: int = -1
    _depth: int = 0
    _inside: bool = False
    _text: list[str] = field(default_factory=list)
    _entry: dict[str, str] = field(default_factory=dict)

    def read(self, body: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True

        def start(name: str, _: dict[str, str]) -> None:
            self._depth += 1
            self._text.clear()
            if self._depth == 2:
                self._inside = name == "Contents"
                if self._inside and self.begin < 0:
                    self.begin = parser.CurrentByteIndex
                elif self._inside and body[self.end : parser.CurrentByteIndex].strip():
                    raise _Unusual  # something stands between two rows
            elif self._depth == 1 and name != "ListBucketResult":
                raise _Unusual

        def end(name: str) -> None:
            if self._inside:
                if self._depth == 3 and name in _FIELDS:
                    self._entry[name] = "".join(self._text)
                elif self._depth == 2:
                    self._add()
                    self.end = parser.CurrentByteIndex + len(_END)
                    self._inside = False
            self._depth -= 1
            self._text.clear()

        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = self._text.append
        for low in range(0, len(body), _PIECE):
            parser.Parse(body[low : low + _PIECE], low + _PIECE >= len(body))
            breathe()

    def _add(self) -> None:
        entry = self._entry
        self.rows.add(
            entry["Key"],
            int(entry.get("Size") or 0),
            entry.get("ETag", ""),
            entry.get("LastModified", ""),
            entry.get("StorageClass") or "STANDARD",
        )
        entry.clear()


@dataclass(slots=True)
class Page(Sequence[RemoteObject]):
    """Objects of one page of a listing; each is made when it is asked for."""

    origin: str
    endpoint: str
    bucket: str
    keys: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    modified_s: list[float] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> RemoteObject: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[RemoteObject]: ...

    def __getitem__(self, at: int | slice) -> RemoteObject | Sequence[RemoteObject]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        where = ObjectId(self.endpoint, self.bucket, self.keys[at], self.versions[at])
        return RemoteObject(self.origin, where, self.sizes[at], self.modified_s[at], self.classes[at])


def cut_rows(response_dict: MutableMapping[str, Any], customized_response_dict: MutableMapping[str, Any], **_: Any) -> None:
    """A handler of botocore's ``before-parse.s3.ListObjectsV2``."""
    body = response_dict.get("body")
    if response_dict.get("status_code") != 200 or not isinstance(body, bytes) or not body:
        return
    reader = _Reader()
    try:
        reader.read(body)
    except (_Unusual, expat.ExpatError, KeyError, ValueError):
        return
    if reader.begin < 0 or body[reader.end - len(_END) : reader.end] != _END:
        return
    response_dict["body"] = body[: reader.begin] + body[reader.end :]
    customized_response_dict[ROWS] = reader.rows


def rows_of(answer: Mapping[str, Any]) -> Rows:
    """Of a parsed answer, keys as they are stored; read by ``cut_rows`` or, where it did not, by botocore."""
    if ROWS in answer:
        found: Rows = answer[ROWS]
        if answer.get("EncodingType") == "url":  # botocore asks for it, and decodes what it has parsed itself
            found.keys = [unquote_plus(key) for key in found.keys]
        return found
    found = Rows()
    for entry in answer.get("Contents") or ():
        modified = entry.get("LastModified")
        text = modified.isoformat() if modified else ""
        found.add(entry["Key"], int(entry.get("Size", 0)), entry.get("ETag") or "", text, entry.get("StorageClass") or "STANDARD")
    return found


def seconds_of(modified: str) -> float:
    """Seconds since the epoch; 0 for none."""
    if not modified:
        return 0.0
    try:
        # "Z" and other fractions than of 3 or 6 digits are for Python 3.11 and later.
        return datetime.fromisoformat(modified[:-1] + "+00:00" if modified[-1] == "Z" else modified).timestamp()
    except ValueError:
        from botocore.utils import parse_timestamp

        return float(parse_timestamp(modified).timestamp())
