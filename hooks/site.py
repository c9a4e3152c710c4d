"""What the routes show and change: the parts of one process in one hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..storage.config import Config
from ..storage.events import EventBus

if TYPE_CHECKING:
    from ..telemetry.exposition import Exposition
    from ..telemetry.observatory import Telemetry
    from .models_table import ModelsTable
    from .panels import Panels
    from .runtime import Runtime


@dataclass(frozen=True, slots=True)
class Site:
    """None: nothing is configured, or that part is switched off.  ``status`` works from memory and always answers."""

    config: Config
    bus: EventBus
    status: Callable[[], dict[str, Any]]
    runtime: Runtime | None = None
    telemetry: Telemetry | None = None
    models: ModelsTable | None = None
    panels: Panels | None = None
    exposition: Exposition | None = None
    wall_clock: Callable[[], float] = time.time
