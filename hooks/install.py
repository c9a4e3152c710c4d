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
from .site import Site

LOG = logging.getLogger("modelstream")


def install() -> None:
    ours = extension()
    for step in (_seams, _routes, _started):
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
    from .lookahead_install import install_lookahead
    from .own_reader import OwnReaderSeam
    from .view_metadata import HeaderSeam, ViewMetadataSeam

    runtime.open_ahead()
    loading = LoadingSeam(runtime)
    ours.seams.put_on(loading, EmbeddingsSeam(runtime), LibrarySeam(runtime), HeaderSeam(runtime), ViewMetadataSeam(runtime))
    if OwnReaderSeam.is_there():
        ours.seams.put_on(OwnReaderSeam(loading))
    if ours.resolving is not None:
        # a path is handed out right before it is loaded: the latest moment to find extensions that hold the original
        ours.resolving.before_loading = loading.sweep_once_more
    warm = install_memory(ours.seams, runtime, loading)
    install_lookahead(ours.seams, runtime, ours.prefetch, warm)
    _name_models(ours)
    _watch_comfyui(ours)


def _name_models(ours: Extension) -> None:
    """Names that are nearly right are put right; what is nowhere is told before the prompt runs."""
    from .lookahead_shapes import ComfyShapes
    from .missing_seam import MissingModelsSeam

    runtime = ours.runtime
    if runtime is not None and _server() is not None:
        missing = MissingModelsSeam(runtime, ComfyShapes())
        ours.seams.put_on(missing)
        runtime.status_blocks["missing_models"] = missing.last


def _watch_comfyui(ours: Extension) -> None:
    """Queue, executions and requests, as the configuration wants them."""
    from .executions import ExecutionsSeam
    from .requests import RequestsSeam

    metrics = ours.config.metrics
    if metrics.enabled and metrics.executions:
        ours.seams.put_on(ExecutionsSeam(ours.bus))
    if metrics.enabled and metrics.requests and _server() is not None:
        ours.seams.put_on(RequestsSeam(ours.bus))


def _started(ours: Extension) -> None:
    """When the server begins to answer, all imports are done."""
    runtime, server = ours.runtime, _server()
    if runtime is None:
        return None
    if server is None:
        return runtime.started()

    async def started(_app: object) -> None:
        runtime.started()

    server.app.on_startup.append(started)


def _site(ours: Extension, guard: Guard) -> Site:
    if ours.runtime is None:
        return Site(ours.config, ours.bus, ours.status)
    from .observe import make_site

    return make_site(ours, ours.runtime, guard)


def _routes(ours: Extension) -> None:
    server = _server()
    if server is None:
        return
    access = ours.config.access
    guard = Guard(
        admin_token=environment.admin_token(),
        listening_on=_listening_on(),
        allowed_hosts=access.allowed_hosts,
        open_reading=access.open_reading,
    )
    if guard.rules.public and not guard.rules.admin_token:
        LOG.warning("[modelstream] ComfyUI listens on the network and there is no admin token: nothing can be changed over HTTP")
    add_routes(server.routes, guard, _site(ours, guard))


def _server() -> Any:
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def _listening_on() -> list[str]:
    args = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    return [address.strip() for address in str(getattr(args, "listen", "") or "127.0.0.1").split(",")]
