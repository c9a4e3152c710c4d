"""Runs before ComfyUI imports torch, as a loose file and not as part of a package.

So the package is made here by hand, under its own name; ``__init__.py`` adopts it later.  What has to happen this
early (wrapping the listing functions) is in ``hooks/boot.py``, which never raises.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

if "modelstream" not in sys.modules:
    package = types.ModuleType("modelstream")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["modelstream"] = package

from modelstream.hooks.boot import prestart

prestart()
