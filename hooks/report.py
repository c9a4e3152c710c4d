"""Says on the bus how a load of a node's ended, with the node and the prompt it was for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..storage.errors import ModelStreamError
from ..storage.events import EventBus, LoadFailed, ModelLoaded
from ..storage.events_comfy import LoadStarted, LoadStopped
from ..storage.objects import RemoteObject
from .context import Executing, executing
from .progress import Figures
from .runtime import Request


class Report:
    def __init__(self, bus: EventBus, obj: RemoteObject, request: Request, *, again: bool = False) -> None:
        self._bus = bus
        self._obj = obj
        self._request = request
        self._again = again
        self.told = False

    def loaded(self, opened: Figures) -> None:
        self.told = True
        if self._again:
            return
        where = executing() or Executing("", "")
        self._bus.emit(
            ModelLoaded(
                folder=self._request.folder,
                name=self._request.name,
                subject=self._obj.subject,
                source=opened.source,
                size_bytes=opened.size_bytes,
                wire_bytes=opened.wire_bytes,
                seconds=opened.seconds,
                node=where.node,
                prompt=where.prompt,
            )
        )


@contextlib.contextmanager
def reporting(bus: EventBus, obj: RemoteObject, request: Request, *, again: bool = False) -> Iterator[Report]:
    """An error of the family that leaves the block is told as LoadFailed and goes on to ComfyUI's dialog.

    again: this node's load of it has been told already: this one is told only when it goes wrong
    """
    where = executing() or Executing("", "")
    report = Report(bus, obj, request, again=again)
    if not again:
        bus.emit(LoadStarted(request.folder, request.name, obj.subject, where.node, where.prompt))
    try:
        yield report
    except ModelStreamError as error:
        bus.emit(LoadFailed(request.name, obj.subject, error.code, str(error)))
        raise
    except BaseException:
        if not report.told:
            bus.emit(LoadStopped(request.name, obj.subject, where.node, where.prompt))
        raise
