"""Where things lie in the SSD tier, and which names a file may have there.

    <root>/objects/ab/cd/<digest>/<basename>    a complete entry: the object's own bytes, `record.json` beside it
    <root>/partial/<digest>.<owner>/            objects on their way (`cache.partial`)
    <root>/leases/<digest>.<owner>              a process uses the entry: not to be evicted (`cache.leases`)
    <root>/locks/<digest>                       a process fetches the object: the others wait for it (`cache.ssd_flight`)
    <root>/locks/<digest>.wait                  held by those who wait
    <root>/quarantine/, <root>/trash/           entries that failed a check; entries being deleted

All of it is lexical: nothing here touches the disk except `make_private` and `refuse_unsafe`.  An object's key
never becomes a path.  Only its last segment survives, sanitised, as the file's name, because loaders look at
name and extension.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from pathlib import Path

from ..storage.errors import ConfigError

RECORD_NAME = "record.json"
BASENAME_BYTES = 200
"""of UTF-8; file systems allow 255, what is left serves suffixes that loaders append"""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_FORBIDDEN = frozenset('<>:"/\\|?*')
_RESERVED = frozenset(("con", "prn", "aux", "nul", "conin$", "conout$", *(f"{n}{i}" for n in ("com", "lpt") for i in "0123456789¹²³")))
_EXTENSION = re.compile(r"\.[A-Za-z0-9_]{1,16}\Z")


def is_digest(text: str) -> bool:
    return _DIGEST.match(text) is not None


def safe_basename(key: str) -> str:
    """The file name of the object with this key.  A name that is fine everywhere stays as it is.

    Everything else loses what some file system refuses and gets eight digits of its hash before the extension,
    so that two names that look alike afterwards still differ.  Never empty, never a path, at most 200 bytes.
    """
    leaf = re.split(r"[/\\]", key)[-1]
    name = "".join(c for c in unicodedata.normalize("NFC", leaf) if c not in _FORBIDDEN and unicodedata.category(c) not in ("Cc", "Cs"))
    name = name.rstrip(". ").lstrip(" ")
    if name == leaf and _acceptable(name):
        return name
    found = _EXTENSION.search(name)
    extension = found.group() if found and found.start() > 0 else ""
    stem = name[: len(name) - len(extension)].rstrip(". ") or "object"
    if stem.split(".")[0].rstrip(" ").lower() in _RESERVED or _own_name(name):
        stem = "_" + stem
    mark = "-" + hashlib.sha256(leaf.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    room = BASENAME_BYTES - len(mark) - len(extension)
    return stem.encode()[:room].decode("utf-8", "ignore") + mark + extension


def _acceptable(name: str) -> bool:
    """For a name without forbidden characters and without dots or spaces at its end."""
    reserved = name.split(".")[0].rstrip(" ").lower() in _RESERVED
    return bool(name) and not reserved and not _own_name(name) and len(name.encode()) <= BASENAME_BYTES


def _own_name(name: str) -> bool:
    return name.lower() == RECORD_NAME


class Layout:
    """The paths below one root.  Immutable; any thread."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.objects = self.root / "objects"
        self.partial = self.root / "partial"
        self.leases = self.root / "leases"
        self.locks = self.root / "locks"
        self.quarantine = self.root / "quarantine"
        self.trash = self.root / "trash"
        prefix = str(self.objects)
        self._prefixes = tuple({_slashes(prefix) + "/", _slashes(os.path.realpath(prefix)) + "/"})

    def entry(self, digest: str) -> Path:
        assert is_digest(digest)
        return self.objects / digest[:2] / digest[2:4] / digest

    def digest_of(self, path: str) -> str | None:
        """The digest of the entry that ``path`` is the file of; None for any other path.  Both slashes work."""
        text = _slashes(path)
        for prefix in self._prefixes:
            if text.startswith(prefix):
                parts = text[len(prefix) :].split("/")
                if len(parts) == 4 and _names_entry(parts):
                    return parts[2]
        return None


def _names_entry(parts: list[str]) -> bool:
    first, second, digest, name = parts
    return is_digest(digest) and digest.startswith(first + second) and len(first) == len(second) == 2 and name not in ("", ".", "..")


def _slashes(path: str) -> str:
    text = path.replace("\\", "/")
    return text.lower() if os.name == "nt" else text


def refuse_unsafe(root: Path, *, shared: bool = False) -> None:
    """Raises ConfigError when other users could put files where ours are read from.

    shared: a directory of somebody else, which the owner of the configuration names on purpose
    """
    if not hasattr(os, "geteuid"):
        return
    status = os.lstat(root) if not root.is_symlink() else os.stat(root)
    if not stat.S_ISDIR(status.st_mode):
        raise _refused("is not a directory")
    if status.st_uid != os.geteuid() and not shared:
        raise _refused(f"belongs to user {status.st_uid}, this process is user {os.geteuid()}")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _refused("can be written by every user")


def _refused(cause: str) -> ConfigError:
    step = "give it to the user that runs ComfyUI with mode 0700, or set ssd.directory to another one"
    return ConfigError("the directory of the SSD tier is not safe to use", cause=f"it {cause}", next_step=step)


def make_private(directory: Path) -> None:
    """Makes a directory, 0700, with missing parents."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
