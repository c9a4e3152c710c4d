"""Drag-in nodes (V3 schema), each a thin call into cache or storage.  Stock loaders need none of them.

Every node names objects as a dropdown does, by folder and name; endpoints, buckets and paths come from the
configuration alone.  Without one the nodes exist and say, when they run, what to write.
"""

from __future__ import annotations


def all_nodes() -> list[type]:
    """The node classes to register.  Imported here: the module `nodes` itself is imported without ComfyUI's API."""
    from .bucket_browser import BucketBrowser
    from .cache_status import CacheStatus
    from .keeping import Evict, Pin
    from .load_checkpoint import LoadCheckpoint
    from .load_fit import LoadCheckpointFit, LoadDiffusionModelFit
    from .memory_estimate import MemoryEstimate
    from .prefetch import Prefetch, WaitForModels
    from .results import LoadImage, SaveImages
    from .saving import SaveCheckpoint, SaveLora
    from .warm_set import MakeWarmSet

    reading = [LoadCheckpoint, Prefetch, WaitForModels, Pin, Evict, MakeWarmSet, BucketBrowser, CacheStatus, MemoryEstimate]
    fitting = [LoadDiffusionModelFit, LoadCheckpointFit]
    return [*reading, *fitting, SaveCheckpoint, SaveLora, SaveImages, LoadImage]
