"""Events about ComfyUI itself and about who watches it: requests, the queue, executions, alerts, actions of the panel.

They are emitted by ``hooks`` and ``telemetry``; the tiers know nothing of them.  Names of nodes and prompts are
ComfyUI's own ids.  Nothing here is a metric label but the fields that say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event

NOT_KNOWN_S = -1.0
"""in a field of seconds: nobody can say"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HttpRequest(Event):
    """A request to ComfyUI was answered.

    endpoint: the route's pattern ("/history/{prompt_id}"), never the path that was asked for; a label
    status:   a label; 499 when the client went away
    seconds:  NOT_KNOWN_S for a websocket, which lasts as long as somebody looks
    """

    method: str
    endpoint: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class QueueOperation(Event):
    """operation: "put", "delete", "clear" or "start"; pending: prompts that wait afterwards"""

    operation: str
    prompt: str
    pending: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ExecutionStart(Event):
    """wait_s: since the prompt was queued, or NOT_KNOWN_S"""

    prompt: str
    wait_s: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ExecutionProgress(Event):
    """A node has ended."""

    prompt: str
    node: str
    seconds: float
    nodes_done: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ExecutionComplete(Event):
    """status: "success", "error" or "interrupted"; nodes: how many ran, those served from ComfyUI's cache not counted"""

    prompt: str
    status: str
    seconds: float
    nodes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LoadStarted(Event):
    """A node waits for an object from now on; ``ModelLoaded``, ``LoadFailed`` or ``LoadStopped`` ends it."""

    folder: str
    name: str
    subject: str
    node: str
    prompt: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LoadStopped(Event):
    """The user interrupted the prompt that waited, or something else than the load failed."""

    name: str
    subject: str
    node: str
    prompt: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ResourceUsage(Event):
    """One device, looked at while something ran.  -1 in a field: not available."""

    gpu: int
    memory_used_bytes: int
    memory_total_bytes: int
    utilization_percent: float
    temperature_c: float
    power_w: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlertRaised(Event):
    """rule, severity and component are from fixed sets; subject: an origin's name or a device's number, or empty"""

    rule: str
    severity: str
    component: str
    subject: str
    value: float
    threshold: float
    message: str
    recommendation: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlertCleared(Event):
    rule: str
    severity: str
    component: str
    subject: str
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PanelAction(Event):
    """Somebody changed something over HTTP.  outcome: "done", "refused" or an error's code"""

    action: str
    objects: int
    outcome: str
    size_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TelemetryDegraded(Event):
    """part: "history", "gpu", "webhook" or "metrics"; what it watches goes on without it"""

    part: str
    code: str
    cause: str
