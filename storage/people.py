"""Sizes and times as people read them, in English: on nodes, in the log, in errors.  The panel writes its own, by the browser's language.

Decimal units (1 GB = 1,000,000,000 bytes) and as many digits as the panel shows (web/src/units.ts), so that one model has one
size wherever it is read.  Pure functions.
"""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """`6.94 GB`, `26 MB`: three significant digits, none of them a zero behind the point; never `1000 MB`."""
    scaled, unit = _scaled(size_bytes)
    digits = 0 if unit == 0 or scaled >= 100 else 1 if scaled >= 10 else 2
    written = f"{scaled:.{digits}f}"
    return f"{written.rstrip('0').rstrip('.') if digits else written} {_UNITS[unit]}"


def share_text(part_bytes: float, whole_bytes: float) -> str:
    """`1.2 / 6.9 GB`: both in the unit of the larger, and of one width while the part grows."""
    scaled, unit = _scaled(max(part_bytes, whole_bytes))
    digits = 0 if unit == 0 or scaled >= 100 else 1
    return f"{part_bytes / 1000**unit:.{digits}f} / {whole_bytes / 1000**unit:.{digits}f} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """`850 ms`, `8.1 s`, `42 s`, `3 min`"""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 89.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"


def _scaled(size_bytes: float) -> tuple[float, int]:
    scaled, unit = max(0.0, float(size_bytes)), 0
    while scaled >= 999.5 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return scaled, unit
