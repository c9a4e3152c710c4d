"""One log line for each event: snake_case name, then the event's fields.

Lines go through the standard library's logger ``modelstream``.  Under ComfyUI the root logger prints them (its
format is the bare message, its output is kept for the UI's log panel); without any root handler a handler of our
own on stderr does, so a line is never printed twice.  structlog renders both formats, and is imported at the first
line: with rich beside it that takes 60 ms, which a ComfyUI without a configuration, where nothing is logged, does not pay.
"""

from __future__ import annotations

import dataclasses
import logging
import logging.handlers
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from ..storage import events, events_comfy, events_near, events_publish, events_restore
from ..storage.events import Event, EventBus
from .records import cap_client_loggers, redact_records
from .redact import Redactor

LOGGER = "modelstream"

LEVELS: Mapping[type[Event], int] = {
    events.CatalogRefreshFailed: logging.WARNING,
    events.PartRetried: logging.DEBUG,
    events.PartHedged: logging.DEBUG,
    events.ConnectionsChanged: logging.DEBUG,
    events.PrefetchDecided: logging.DEBUG,
    events.PrefetchScored: logging.DEBUG,
    events.ModelsMissing: logging.WARNING,
    events.TransferStarted: logging.DEBUG,  # its end says all of it
    events.SeamChanged: logging.DEBUG,  # a seam that does not fit is told by hooks/seam.py itself
    events.TierHit: logging.DEBUG,
    events.TierMiss: logging.DEBUG,
    events.Stored: logging.DEBUG,
    events.HostMemoryPinned: logging.DEBUG,
    events.DeviceFull: logging.WARNING,
    events.MemoryYielded: logging.WARNING,
    events.TlsNotVerified: logging.WARNING,
    events.TransferFailed: logging.WARNING,
    events.Unverified: logging.WARNING,
    events.TierDegraded: logging.WARNING,
    events.CorruptionFound: logging.ERROR,
    events.LoadFailed: logging.ERROR,
    events_near.NearDown: logging.WARNING,
    events_near.NearFailover: logging.WARNING,
    events_near.MirrorFailed: logging.WARNING,
    events_comfy.HttpRequest: logging.DEBUG,
    events_comfy.ExecutionStart: logging.DEBUG,
    events_comfy.ExecutionProgress: logging.DEBUG,
    events_comfy.QueueOperation: logging.DEBUG,
    events_comfy.ResourceUsage: logging.DEBUG,
    events_comfy.LoadStarted: logging.DEBUG,
    events_comfy.AlertRaised: logging.WARNING,
    events_comfy.TelemetryDegraded: logging.WARNING,
    events_publish.PublishFailed: logging.WARNING,
    events_restore.RestoreFailed: logging.WARNING,
    events_restore.ClassChangeFailed: logging.WARNING,
}
"""everything else is INFO"""

NAMES: Mapping[type[Event], tuple[str, Mapping[str, str]]] = {
    events.ModelLoaded: ("model_operation", {"operation": "load"}),
    events.Stored: ("model_operation", {"operation": "store"}),
    events.Converted: ("model_operation", {"operation": "convert"}),
    events.Evicted: ("model_operation", {"operation": "evict"}),
    events.Pinned: ("model_operation", {"operation": "pin"}),
    events.Unpinned: ("model_operation", {"operation": "unpin"}),
    events.Verified: ("model_operation", {"operation": "verify"}),
    events.LoadFailed: ("error", {"component": "loading"}),
    events.TransferFailed: ("error", {"component": "transfer"}),
    events.CorruptionFound: ("error", {"component": "integrity"}),
    events.CatalogRefreshFailed: ("error", {"component": "catalog"}),
    events_comfy.TelemetryDegraded: ("error", {"component": "telemetry"}),
    events_publish.PublishFailed: ("error", {"component": "publish"}),
    events_restore.RestoreFailed: ("error", {"component": "restore"}),
    events_restore.ClassChangeFailed: ("error", {"component": "storage_class"}),
}
"""one name for things of one kind; every other event is called by its own name in snake case"""

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")
_EventDict = MutableMapping[str, Any]

Bound = Callable[[Event], Mapping[str, str]]
"""called in the emitter's thread; quick"""


class LogSettings(Protocol):
    """The configuration's [log] section (storage.config.LogConfig)."""

    @property
    def level(self) -> str: ...  # debug, info, warning, error
    @property
    def format(self) -> str: ...  # console, json
    @property
    def file(self) -> Path | None: ...
    @property
    def rotate_mb(self) -> float: ...
    @property
    def keep(self) -> int: ...


def start_logging(
    settings: LogSettings, bus: EventBus, *, secrets: Iterable[str] = (), bound: Bound = lambda event: {}
) -> Callable[[], None]:
    """Logs every event of the bus from now on; the returned callable ends it and may be called twice.

    bound: what else a line says of its event: in which execution and for which node it happened
    secrets: literals that must never be printed (secret keys, session tokens).
    A log file that cannot be opened becomes a warning in the log: logging must not keep ComfyUI from starting.
    """
    redactor = Redactor(secrets)
    logger = logging.getLogger(LOGGER)
    level_before = logger.level
    logger.setLevel(settings.level.upper())
    cap_client_loggers()
    undo: list[Callable[[], None]] = [redact_records(redactor), lambda: logger.setLevel(level_before)]
    undo.append(_attach(logger, _stderr_handler()))
    if settings.file is not None:
        try:
            undo.append(_attach(logger, _file_handler(settings, settings.file)))
        except OSError as error:
            logger.warning("[modelstream] the log file cannot be opened: %s", error.strerror)
    undo.append(bus.subscribe(EventLog(logger, redactor, as_json=settings.format == "json", bound=bound)))

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """What all events of one class have in common."""

    level: int
    name: str
    more: Mapping[str, str]
    fields: tuple[str, ...]


def _kind_of(kind: type[Event]) -> _Kind:
    name, more = NAMES.get(kind) or (snake_case(kind.__name__), {})
    return _Kind(LEVELS.get(kind, logging.INFO), name, more, tuple(f.name for f in dataclasses.fields(kind)))


class EventLog:
    """A subscriber that turns an event into one line.  Called in the emitter's thread."""

    def __init__(self, logger: logging.Logger, redactor: Redactor, *, as_json: bool, bound: Bound = lambda event: {}) -> None:
        self._bound = bound
        self._stdlib = logger
        self._redactor = redactor
        self._as_json = as_json
        self._structlog: Any = None
        self._kinds: dict[type[Event], _Kind] = {}

    def __call__(self, event: Event) -> None:
        kind = self._kinds.get(type(event))
        if kind is None:
            kind = self._kinds[type(event)] = _kind_of(type(event))
        if not self._stdlib.isEnabledFor(kind.level):
            return
        fields = {name: _plain(getattr(event, name)) for name in kind.fields}
        said = {**kind.more, **{k: v for k, v in self._bound(event).items() if k not in fields}, **fields}
        if self._structlog is None:  # two threads may both build one: they are equal
            self._structlog = self._build()
        self._structlog.log(kind.level, kind.name, **said)

    def _build(self) -> Any:
        import structlog

        clean: list[Any] = [_printable, self._redact]
        if self._as_json:
            stamps = [structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.stdlib.add_log_level]
            chain = [*stamps, *clean, structlog.processors.JSONRenderer()]
        else:
            chain = [*clean, _named(structlog.processors.LogfmtRenderer(bool_as_flag=False))]
        return structlog.wrap_logger(
            self._stdlib, processors=chain, wrapper_class=structlog.stdlib.BoundLogger, cache_logger_on_first_use=True
        )

    def _redact(self, _: object, __: str, event: _EventDict) -> _EventDict:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = self._redactor.text(value)
        return event


def _plain(value: Any) -> Any:
    """A list of names is one text, so that it is cleaned like any other."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def snake_case(name: str) -> str:
    return _WORD_START.sub("_", name).lower()


def _printable(_: object, __: str, event: _EventDict) -> _EventDict:
    """An object key may hold line breaks or terminal escapes; a log line may not."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in value)
        elif isinstance(value, float):
            event[name] = round(value, 4)
    return event


def _named(render: Callable[[Any, str, _EventDict], str]) -> Callable[[Any, str, _EventDict], str]:
    """`[modelstream] transfer_finished size_bytes=7`: whose line it is and what happened, as other lines of ComfyUI's log say it;
    time and level are the handler's affair."""

    def line(logger: Any, method: str, event: _EventDict) -> str:
        name = event.pop("event")
        return f"[modelstream] {name} {render(logger, method, event)}".rstrip()

    return line


def _attach(logger: logging.Logger, handler: logging.Handler) -> Callable[[], None]:
    logger.addHandler(handler)

    def detach() -> None:
        logger.removeHandler(handler)
        handler.close()

    return detach


def _stderr_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.addFilter(lambda _: not logging.getLogger().handlers)
    return handler


def _file_handler(settings: LogSettings, path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=int(settings.rotate_mb * 1e6), backupCount=settings.keep, encoding="utf-8", errors="backslashreplace"
    )
    plain = "%(message)s" if settings.format == "json" else "%(asctime)s %(levelname)-7s %(message)s"
    handler.setFormatter(logging.Formatter(plain))
    return handler
