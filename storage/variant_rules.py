"""The rules by which one of a model's variants is taken, as nodes name them; see cache/variant_choice.py."""

from __future__ import annotations

BEST, SMALLEST, AT_MOST, THIS = "best that fits", "smallest", "at most N bits", "this one"
RULES = (BEST, SMALLEST, AT_MOST, THIS)
