"""Model Stream: models in S3-compatible buckets, streamed into ComfyUI as if they were local.

ComfyUI imports this folder under a name made from its path; everything else (tests, benchmarks, the hooks that
``prestartup_script.py`` put on) knows it as ``modelstream``.  Both names mean one set of modules.
Importing this file is cheap and does nothing but that, unless ComfyUI is the importer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"

sys.modules.setdefault("modelstream", sys.modules[__name__])

if __name__ != "modelstream":
    # Loaded by ComfyUI.  Absolute on purpose: a relative import would make a second copy of every module under
    # ComfyUI's path-like name, beside the copy that prestartup_script.py has already put to work.
    from modelstream.hooks.install import install

    install()


async def comfy_entrypoint() -> ComfyExtension:
    """Called once by ComfyUI, on its event loop; the V3 API is imported only here, because nothing else needs it."""
    from comfy_api.latest import ComfyExtension

    from modelstream.nodes import all_nodes

    class ModelStreamExtension(ComfyExtension):
        async def get_node_list(self) -> list[type]:
            return all_nodes()

    return ModelStreamExtension()
