"""Before ComfyUI imports torch: read the configuration, start the catalog, wrap listing and resolving.

``prestart`` never raises: a broken configuration leaves ComfyUI as it is and is told in the log and the status.
Whoever takes ``get_full_path`` by name at import gets the wrapper, because this runs before all of them.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths

from ..storage import environment
from ..storage.config import Config, load_config
from ..storage.errors import ModelStreamError
from ..storage.events import Event, EventBus
from .context import executing
from .folders import all_views
from .listing import ListingSeam
from .lookahead_install import Sources, start_prefetch
from .panel_json import health
from .resolving import ResolvingSeam
from .runtime import Places, Runtime
from .seam import Seams, place_of
from .status import History, status_json

if TYPE_CHECKING:
    from ..telemetry.observatory import Telemetry
    from .panels import Panels

LOG = logging.getLogger("modelstream")

LINES_TO_WRITE = """[profiles.models]
endpoint = "https://s3.example.com"
[[origins]]
bucket = "my-models"
"""
HOW_TO_CONFIGURE = "no bucket is configured. Write these lines to user/{directory}/config.toml and restart ComfyUI:\n" + LINES_TO_WRITE


class Extension:
    """The extension of this process: what is configured, what is on, what is wrong.  One, made by ``extension``."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.history = History()
        self.seams = Seams(self.bus)
        self.directory = system_directory()
        self.config = Config()
        self.lines_to_write = LINES_TO_WRITE
        self.problem = ""
        self.broken = False
        """the configuration cannot be used; ``problem`` says why"""
        self.runtime: Runtime | None = None
        self.telemetry: Telemetry | None = None
        self.panels: Panels | None = None
        self.wall_clock = time.time
        self.started_s = time.time()
        self.resolving: ResolvingSeam | None = None
        self.prefetch: Sources | None = None
        self._undo: list[Callable[[], None]] = [self.bus.subscribe(self.history)]

    @property
    def configured(self) -> bool:
        return bool(self.config.origins)

    def start(self) -> None:
        """Never raises."""
        try:
            self._start()
        except ModelStreamError as error:
            self.problem, self.broken = str(error), True
            LOG.warning("[modelstream] off: %s", error)
        except Exception as error:
            self.problem, self.broken = f"the start failed: {place_of(error)}", True
            LOG.error("[modelstream] off: %s", self.problem)

    def close(self) -> None:
        """Takes every wrapper off and stops every thread."""
        self.seams.take_off()
        if self.prefetch is not None:
            self.prefetch.close()
        if self.runtime is not None:
            self.runtime.close()
        while self._undo:
            self._undo.pop()()

    def undo_with(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def panel_open(self) -> bool:
        return self.panels is not None and bool(self.panels.clients())

    def generation(self) -> int:
        """Grows with everything that may change the models table."""
        return self.history.changes + (self.runtime.catalog.generation if self.runtime is not None else 0)

    def trouble(self) -> str:
        if self.runtime is not None and self.runtime.failure is not None:
            return str(self.runtime.failure)
        return self.problem

    def health(self) -> dict[str, Any]:
        return health(
            configured=self.configured or self.broken,
            enabled=self.config.enabled,
            problem=self.trouble(),
            runtime=self.runtime,
            telemetry=self.telemetry,
        )

    def status(self) -> dict[str, Any]:
        return status_json(self)

    def _bound(self, event: Event) -> Mapping[str, str]:
        """In which execution something happened: that of this thread's node, else of the node that waits for the object."""
        where = executing()
        if where is not None:
            return {"execution_id": where.prompt, "node": where.node}
        subject = getattr(event, "subject", "")
        waiting = self.telemetry.waiting.on(subject) if subject and self.telemetry is not None else ()
        return {"execution_id": waiting[0].prompt, "node": waiting[0].node} if waiting else {}

    def _start(self) -> None:
        config = self.config = load_config(environment.config_path(self.directory / "config.toml"))
        if not config.enabled:
            self.problem = "enabled = false in config.toml"
        elif not config.origins:
            self.problem = HOW_TO_CONFIGURE.format(directory=self.directory.name)
        else:
            self._undo.append(_start_logging(config, self.bus, self._bound))
            runtime = self.runtime = Runtime(config, Places(state=self.directory, ssd=self.directory / "cache"), self.bus)
            runtime.starting = True
            from .observe import deliver_alerts, start_telemetry  # not where nothing is configured

            self.telemetry = start_telemetry(runtime, self.panel_open)
            if self.telemetry is not None:
                self._undo.append(self.telemetry.close)
                delivery = deliver_alerts(runtime)
                if delivery is not None:
                    self._undo += [delivery.close, self.bus.subscribe(delivery)]
            runtime.start(all_views())
            self.prefetch = start_prefetch(runtime)
            self.resolving = ResolvingSeam(runtime)
            self.seams.put_on(ListingSeam(runtime), self.resolving)
            atexit.register(self.close)


_MADE: list[Extension] = []


def prestart() -> None:
    """Called by prestartup_script.py.  Never raises, does nothing a second time."""
    extension()


def extension() -> Extension:
    """The one of this process; started at the first call."""
    if not _MADE:
        _MADE.append(Extension())
        _MADE[0].start()
    return _MADE[0]


def system_directory() -> Path:
    """``user/__modelstream``, which ComfyUI never serves; ``user/modelstream`` where ComfyUI does not know such directories yet."""
    of_system = getattr(folder_paths, "get_system_user_directory", None)
    if of_system is not None:
        return Path(of_system("modelstream"))
    return Path(os.path.join(folder_paths.get_user_directory(), "modelstream"))


def _start_logging(config: Config, bus: EventBus, bound: Callable[[Event], Mapping[str, str]]) -> Callable[[], None]:
    from ..telemetry.logs import start_logging

    secrets = {secret for p in config.profiles for secret in (p.secret_access_key, p.session_token) if secret}
    secrets |= {config.alerts.webhook} - {""}
    return start_logging(config.log, bus, secrets=secrets, bound=bound)
