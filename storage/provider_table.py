"""What each provider really has, as a table: storage classes by how cold they are, and what its S3 interface can do with them.

``docs/providers.md`` has the same as a table for people; ``tests/test_providers.py`` compares the two.  Tested here: SeaweedFS and, for
AWS's classes, MiniStack.  The other rows follow the providers' documentation.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("hot", "warm", "cold", "archive")
"""from what is read daily to what is hardly ever read"""
COPY, LIFECYCLE = "copy", "lifecycle"


@dataclass(frozen=True, slots=True)
class Provider:
    """classes:  {level: storage classes as S3 names them}, the one that a plan takes first
    more:       classes that are there and that a plan takes only where the owner names them under [tiering] classes
    ways:       how an object changes its class: COPY, in place; LIFECYCLE: by an object tag and a rule of the bucket
    restores:   whether some of the classes are read only after a restore
    checksums:  what a HEAD answers, "crc64nvme", "crc32c" or ""
    conditional: whether If-Match is kept when an object is written
    versions:   whether a bucket can keep old versions (which stay billed in the old class after a move)
    multipart_copy: whether an object can be copied in parts; without it nothing above 5 GiB changes its class
    """

    preset: str
    classes: dict[str, tuple[str, ...]]
    more: tuple[tuple[str, str], ...] = ()
    ways: tuple[str, ...] = ()
    restores: bool = False
    checksums: str = ""
    conditional: bool = False
    versions: bool = True
    multipart_copy: bool = True

    def level_of(self, storage_class: str) -> str:
        """ "" for a class that is not in the table."""
        for level, names in self.classes.items():
            if storage_class in names:
                return level
        return next((level for level, name in self.more if name == storage_class), "")

    def candidates(self, levels: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
        """Classes that may be chosen.  named: the owner's own list, () for the usual ones."""
        usual = tuple(name for level in LEVELS if level in levels for name in self.classes.get(level, ()))
        if not named:
            return usual
        known = (*usual, *(name for level, name in self.more if level in levels))
        return tuple(name for name in known if name in named)


_ONE: dict[str, tuple[str, ...]] = {"hot": ("STANDARD",)}

_TABLE = (
    Provider(
        "aws",
        {"hot": ("STANDARD",), "warm": ("STANDARD_IA",), "cold": ("GLACIER_IR",), "archive": ("GLACIER", "DEEP_ARCHIVE")},
        more=(("hot", "INTELLIGENT_TIERING"), ("warm", "ONEZONE_IA")),
        ways=(COPY, LIFECYCLE),
        restores=True,
        checksums="crc64nvme",
        conditional=True,
    ),
    Provider(
        "gcs",
        {"hot": ("STANDARD",), "warm": ("NEARLINE",), "cold": ("COLDLINE",), "archive": ("ARCHIVE",)},
        ways=(COPY,),
        checksums="crc32c",
        multipart_copy=False,
    ),
    Provider("r2", {"hot": ("STANDARD",), "warm": ("STANDARD_IA",)}, ways=(COPY,), checksums="crc64nvme", conditional=True, versions=False),
    Provider("b2", _ONE),
    Provider("wasabi", _ONE),
    Provider("minio", _ONE, checksums="crc64nvme", conditional=True),
    Provider("seaweedfs", _ONE, checksums="crc64nvme", conditional=True),
    Provider("ceph", _ONE),
)

PROVIDERS = {provider.preset: provider for provider in _TABLE}

UNKNOWN = Provider("", _ONE)
"""any other server: nothing is known of its classes, so nothing is moved"""


def provider_of(preset: str) -> Provider:
    return PROVIDERS.get(preset, UNKNOWN)
