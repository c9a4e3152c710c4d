"""When ComfyUI imports the extension: every seam that needs torch or the server, and the routes.  Never raises."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ..storage import environment
from .boot import Extension, extension
from .guard import Guard
from .routes import add_routes
from .seam import place_of

LOG = logging.getLogger("modelstream")


def install() -> None:
    ours = extension()
    for step in (_seams, _routes):
        try:
            step(ours)
        except Exception as error:
            problem = f"installing {step.__name__.strip('_')} failed: {place_of(error)}"
            ours.problem = ours.problem or problem
            LOG.error("[modelstream] %s", problem)


def _seams(ours: Extension) -> None:
    runtime = ours.runtime
    if runtime is None:
        return
    from .embeddings import EmbeddingsSeam
    from .install_memory import install_memory
    from .library import LibrarySeam
    from .loading import LoadingSeam
    from .view_metadata import HeaderSeam, ViewMetadataSeam

    runtime.open_ahead()
    loading = LoadingSeam(runtime)
    ours.seams.put_on(loading, EmbeddingsSeam(runtime), LibrarySeam(runtime), HeaderSeam(runtime), ViewMetadataSeam(runtime))
    if ours.resolving is not None:
        # a path is handed out right before it is loaded: the latest moment to find extensions that hold the original
        ours.resolving.before_loading = loading.sweep_once_more
    install_memory(ours.seams, runtime, loading)


def _routes(ours: Extension) -> None:
    server = _server()
    if server is None:
        return
    guard = Guard(admin_token=environment.admin_token(), listening_on=_listening_on())
    add_routes(server.routes, guard, ours.status, ours.runtime)


def _server() -> Any:
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def _listening_on() -> list[str]:
    args = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    return [address.strip() for address in str(getattr(args, "listen", "") or "127.0.0.1").split(",")]
