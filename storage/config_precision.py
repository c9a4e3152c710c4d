"""[[precision]] of the configuration: which models are written in fewer bits while they come in."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .config_read import key, one_of, text

FORMS = ("fp8", "int8", "mxfp8", "nvfp4")
"""the conversions themselves are the cache's (cache/recipe.py)"""


@dataclass(frozen=True, slots=True)
class PrecisionRule:
    """match: a pattern over "folder/name", as in "diffusion_models/flux*"; form: what its layers are written in"""

    match: str = key(text(empty=False))
    form: str = key(one_of(*FORMS))

    def fits(self, folder: str, name: str) -> bool:
        return fnmatchcase(f"{folder}/{name}".replace("\\", "/").lower(), self.match.lower())


def form_for(rules: tuple[PrecisionRule, ...], folder: str, name: str) -> str | None:
    """Of the first rule that fits."""
    return next((rule.form for rule in rules if rule.fits(folder, name)), None)
