"""What nodes and the panel may put into buckets: only what the owner allows, under a name that they choose inside of it.

Blocks; called by the thread that runs a node, or one of ours.  Nothing that exists is ever replaced from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..storage.errors import ModelStreamError, PublishRefused
from ..storage.events_publish import ObjectPublished, PublishFailed
from ..storage.origin import Origin
from ..storage.publish import PublishSettings, Show, publish
from ..storage.publish_check import directory_for
from ..storage.publish_plan import Labels, Published, PublishRequest
from ..storage.publish_small import put_bytes
from .publish_allowed import refused_because, results_refused_because
from .runtime import Runtime


def publish_model(
    runtime: Runtime, path: Path, folder: str, name: str, labels: Labels, show: Show, *, state: Path | None = None
) -> Published:
    """Puts a model into the bucket, and has it listed.  Raises ModelStreamError, or what ``show`` raises.

    name: with its extension, "/" separated; state: where an interrupted one is noted; None: it leaves nothing
    """
    config = runtime.config
    because = refused_because(config, folder)
    if because:
        raise PublishRefused(because.rstrip("."))
    origin = _origin(runtime, config.publish.origin)
    size_bytes = path.stat().st_size
    if size_bytes > config.publish.max_bytes:
        cause = f"it has {size_bytes / 1e9:.1f} GB, max_gb under [publish] allows {config.publish.max_bytes / 1e9:.1f} GB"
        raise PublishRefused("the model is too large to be saved into the bucket", subject=name, cause=cause, next_step="raise max_gb")
    key = origin.prefix + directory_for(folder, origin.config.folders) + name
    settings = PublishSettings(
        transfer=config.transfer,
        state=state,
        connections_max=config.publish.connections_max,
        part_bytes=config.publish.part_bytes,
        rate_limit_bytes_per_s=config.publish.rate_limit_bytes_per_s,
    )
    try:
        # what is listed in memory is enough: a twin that it misses is sent again, no more
        candidates = [obj for obj in runtime.catalog.objects() if obj.origin == origin.name and obj.size_bytes == size_bytes]
        published = publish(origin, PublishRequest(path, key, labels), settings, others=lambda: candidates, show=show)
    except ModelStreamError as error:
        runtime.bus.emit(PublishFailed(origin.subject(key), error.code, str(error)))
        raise
    p = published
    runtime.bus.emit(ObjectPublished(p.subject, p.size_bytes, p.wire_bytes, p.seconds, p.how, p.verified))
    runtime.catalog.refresh()
    return published


def publish_result(
    runtime: Runtime, key: str, content: bytes, content_type: str, metadata: Mapping[str, str], check: Callable[[], None]
) -> str:
    """Puts a picture into the results bucket; its ETag.  Raises NameTaken where that key exists, or another ModelStreamError."""
    origin = results_origin(runtime)
    limit = runtime.config.results.max_bytes
    if len(content) > limit:
        cause = f"it has {len(content) / 1e6:.1f} MB, max_mb under [results] allows {limit / 1e6:.1f} MB"
        raise PublishRefused("the picture is too large to be saved into the bucket", subject=key, cause=cause, next_step="raise max_mb")
    started_s = time.monotonic()
    etag = put_bytes(origin, key, content, content_type=content_type, metadata=metadata, settings=runtime.config.transfer, check=check)
    size = len(content)
    runtime.bus.emit(ObjectPublished(origin.subject(key), size, size, time.monotonic() - started_s, "uploaded", ""))
    return etag


def results_origin(runtime: Runtime) -> Origin:
    """Raises PublishRefused where the owner names none."""
    because = results_refused_because(runtime.config)
    if because:
        raise PublishRefused(because.rstrip("."))
    return _origin(runtime, runtime.config.results.origin)


def _origin(runtime: Runtime, name: str) -> Origin:
    return runtime.origins[name] if name else next(iter(runtime.origins.values()))
