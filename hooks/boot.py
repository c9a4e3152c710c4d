"""Before ComfyUI imports torch: read the configuration, start the catalog, wrap listing and resolving.

``prestart`` never raises: a broken configuration leaves ComfyUI as it is and is told in the log and the status.
Whoever takes ``get_full_path`` by name at import gets the wrapper, because this runs before all of them.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths

from ..storage import environment
from ..storage.config import Config, load_config
from ..storage.errors import ModelStreamError
from ..storage.events import EventBus
from .folders import all_views
from .listing import ListingSeam
from .resolving import ResolvingSeam
from .runtime import Places, Runtime
from .seam import Seams, place_of
from .status import History, status_json

LOG = logging.getLogger("modelstream")

HOW_TO_CONFIGURE = """no bucket is configured. Write these lines to user/{directory}/config.toml and restart ComfyUI:
[profiles.models]
endpoint = "https://s3.example.com"
[[origins]]
bucket = "my-models"
"""


class Extension:
    """The extension of this process: what is configured, what is on, what is wrong.  One, made by ``extension``."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.history = History()
        self.seams = Seams(self.bus)
        self.directory = system_directory()
        self.config = Config()
        self.problem = ""
        self.runtime: Runtime | None = None
        self.resolving: ResolvingSeam | None = None
        self._undo: list[Callable[[], None]] = [self.bus.subscribe(self.history)]

    @property
    def configured(self) -> bool:
        return bool(self.config.origins)

    def start(self) -> None:
        """Never raises."""
        try:
            self._start()
        except ModelStreamError as error:
            self.problem = str(error)
            LOG.warning("[modelstream] off: %s", error)
        except Exception as error:
            self.problem = f"the start failed: {place_of(error)}"
            LOG.error("[modelstream] off: %s", self.problem)

    def close(self) -> None:
        """Takes every wrapper off and stops every thread."""
        self.seams.take_off()
        if self.runtime is not None:
            self.runtime.close()
        while self._undo:
            self._undo.pop()()

    def status(self) -> dict[str, Any]:
        problem = self.problem
        if self.runtime is not None and self.runtime.failure is not None:
            problem = str(self.runtime.failure)
        return status_json(
            configured=self.configured,
            enabled=self.config.enabled,
            problem=problem,
            seams=self.seams,
            history=self.history,
            runtime=self.runtime,
        )

    def _start(self) -> None:
        config = self.config = load_config(environment.config_path(self.directory / "config.toml"))
        if not config.enabled:
            self.problem = "enabled = false in config.toml"
        elif not config.origins:
            self.problem = HOW_TO_CONFIGURE.format(directory=self.directory.name)
        else:
            self._undo.append(_start_logging(config, self.bus))
            runtime = self.runtime = Runtime(config, Places(state=self.directory, ssd=self.directory / "cache"), self.bus)
            runtime.start(all_views())
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


def _start_logging(config: Config, bus: EventBus) -> Callable[[], None]:
    from ..telemetry.logs import start_logging

    secrets = {secret for p in config.profiles for secret in (p.secret_access_key, p.session_token) if secret}
    return start_logging(config.log, bus, secrets=secrets)
