"""Keys of results (pictures that workflows make), from the owner's pattern and values of the workflow.

The pattern is the owner's; the values are anybody's.  A value becomes part of one segment: whatever could end a segment,
climb out of it or mean something to a file system is replaced, and the key as a whole is checked again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import ConfigError, PublishRefused
from .layout import is_safe_name

PLACEHOLDERS = frozenset({"date", "time", "prefix", "seed", "counter", "width", "height", "batch"})
VALUE_MAX = 80
COUNTER_DIGITS = 5
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_UNSAFE = re.compile(r'[/\\:*?"<>|]+')


@dataclass(frozen=True, slots=True)
class Pattern:
    """text: without extension.  A pattern without {counter} gets one at its end."""

    text: str

    @classmethod
    def checked(cls, text: str) -> Pattern:
        """Raises ConfigError."""
        unknown = set(_PLACEHOLDER.findall(text)) - PLACEHOLDERS
        if unknown or re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
            known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
            raise ConfigError("results.pattern has an unknown placeholder", next_step=f"known: {known}")
        if text.count("{counter}") > 1 or text.startswith("/"):
            raise ConfigError("results.pattern must have {counter} once at most, and not begin with a slash")
        return cls(text if "{counter}" in text else f"{text}_{{counter}}")

    def halves(self, values: Mapping[str, object], now_s: float) -> tuple[str, str]:
        """(what stands before the counter, what follows it), values filled in and made safe."""
        local = time.localtime(now_s)
        filled = {name: _safe(str(value)) for name, value in values.items()}
        filled["date"], filled["time"] = time.strftime("%Y-%m-%d", local), time.strftime("%H%M%S", local)
        before, _, after = self.text.partition("{counter}")
        fill = lambda text: _PLACEHOLDER.sub(lambda found: filled.get(found.group(1), ""), text)  # noqa: E731
        return fill(before), fill(after)


def key_of(before: str, counter: int, after: str, extension: str) -> str:
    """Raises PublishRefused where that is no key that could be shown or kept as a file."""
    key = f"{before}{counter:0{COUNTER_DIGITS}}{after}.{extension}"
    if not is_safe_name(key, windows=True):
        step = "correct pattern under [results], or the node's prefix"
        raise PublishRefused("this is no name for a result", subject=ascii(key)[:120], cause="a part of it is unsafe", next_step=step)
    return key


def next_counter(keys: Iterable[str], before: str) -> int:
    """One more than the largest among keys that begin with ``before`` and a number."""
    counter = re.compile(re.escape(before) + r"(\d{1,9})(?!\d)")
    return max((int(found.group(1)) for key in keys if (found := counter.match(key))), default=0) + 1


def _safe(value: str) -> str:
    """Part of one segment: never a path, never empty, short."""
    printable = "".join(c if c.isprintable() else "_" for c in value)
    text = _UNSAFE.sub("_", printable).strip(" .")[:VALUE_MAX].strip(" .")
    return text or "_"
