"""Whether a model fits on a device, and what it costs if it does not fit whole: one pure function over values.

The rules are those by which ComfyUI's own memory manager acts (``model_management.load_models_gpu``): it makes room for the
weights and a tenth more beside the working memory, sends other models off the device for that, keeps the rest of the weights in
host memory when even an empty device does not do, and copies those over at every step.  What is asked here is what it will do,
so its own figures of working memory are used and not better ones (see ``Work``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

SPARE = 1.1
"""of the weights: what ComfyUI makes room for"""


@dataclass(frozen=True, slots=True)
class Component:
    """One of a model's parts.

    kind:   "diffusion_model", "text_encoder", "vae", "clip_vision" or "other" (what no loader of this file takes)
    name:   ComfyUI's name of the class that it becomes
    stored: bytes in the file by safetensors' dtype
    loaded: bytes once loaded, by torch's dtype, as ComfyUI will hold them on this machine; empty where that is not known
    device: where it works: "cpu", "cuda:0", …
    """

    kind: str
    name: str
    stored: Mapping[str, int]
    loaded: Mapping[str, int] = field(default_factory=dict)
    device: str = ""

    @property
    def stored_bytes(self) -> int:
        return sum(self.stored.values())

    @property
    def loaded_bytes(self) -> int:
        return sum(self.loaded.values())


@dataclass(frozen=True, slots=True)
class Work:
    """Memory beside the weights while a component works on one latent size.

    asked_bytes:   what ComfyUI makes room for (``memory_required`` of conditions and their opposite together)
    least_bytes:   what it keeps free whatever it has to offload for that (of one of them)
    traced_bytes:  what the computation itself allocates, from running it over tensors without memory; None: not known
    """

    kind: str
    asked_bytes: int
    least_bytes: int
    traced_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a header says about memory.  ``architecture`` empty: nobody knows it, ``problem`` says why; bytes are all there is.

    latent: shape of the latent that ``work`` was worked out for
    """

    subject: str
    size_bytes: int
    architecture: str
    components: tuple[Component, ...]
    work: tuple[Work, ...] = ()
    latent: tuple[int, ...] = ()
    problem: str = ""

    def component(self, kind: str) -> Component | None:
        return next((one for one in self.components if one.kind == kind), None)

    def work_of(self, kind: str) -> Work:
        return next((one for one in self.work if one.kind == kind), Work(kind, 0, 0))

    @property
    def loaded_bytes(self) -> int:
        return sum(one.loaded_bytes for one in self.components)

    @property
    def peak_bytes(self) -> int | None:
        """Of all its components in the same memory: their weights and the most that one needs to work; None: not known."""
        traced = [one.traced_bytes for one in self.work]
        known = [one for one in traced if one is not None]
        return self.loaded_bytes + max(known, default=0) if self.architecture and len(known) == len(traced) else None


@dataclass(frozen=True, slots=True)
class Held:
    """A model that is on a device and could leave it."""

    label: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """A device as it is now.

    free_bytes:      what ComfyUI counts as free there
    inference_bytes: what it keeps free for working at the least; reserved_bytes: for other programs, the owner's reserve included
    held:            who could leave, the first to leave first
    offloads:        whether a part of a model may stay in host memory
    least_share:     of the free memory that weights get even where little is left for working (MIN_WEIGHT_MEMORY_RATIO)
    host_bytes:      available host memory
    rate_bytes_per_s: from host memory to the device, measured on this machine; None: not measured
    """

    device: str
    total_bytes: int
    free_bytes: int
    inference_bytes: int = 0
    reserved_bytes: int = 0
    held: tuple[Held, ...] = ()
    offloads: bool = True
    least_share: float = 0.0
    host_bytes: int | None = None
    rate_bytes_per_s: float | None = None

    @property
    def is_host(self) -> bool:
        return self.device.partition(":")[0] == "cpu"

    @property
    def left_bytes(self) -> int:
        """After the reserve, as the device is."""
        return max(0, self.free_bytes - self.reserved_bytes)

    @property
    def could_free_bytes(self) -> int:
        return sum(one.size_bytes for one in self.held)


WHOLE, EVICT, OFFLOAD, NO, UNKNOWN = "whole", "evict", "offload", "no", "unknown"
ORDER = (WHOLE, EVICT, OFFLOAD, NO, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind: "whole", "evict" (whole after those have left), "offload", "no" or "unknown" (bytes only).

    stage:         the component that decides it
    needed_bytes:  its weights and what ComfyUI makes room for beside them, of those that work together on the device
    going:         labels of the models that leave the device for it
    offload_bytes: weights that stay in host memory; step_seconds: what copying them costs at every step, None: not measured
    missing_bytes: with "no"
    """

    kind: str
    device: str
    stage: str = ""
    needed_bytes: int = 0
    left_bytes: int = 0
    going: tuple[str, ...] = ()
    freed_bytes: int = 0
    offload_bytes: int = 0
    step_seconds: float | None = None
    missing_bytes: int = 0
    reason: str = ""


def judge(estimate: Estimate, rooms: Mapping[str, Room]) -> Verdict:
    """Pure.  ``rooms``: by device name, of every device that a component works on.

    A device's components work one after the other, so each has to fit alone and the worst of them is the answer; in host
    memory all of them stay.
    """
    if not estimate.architecture:
        return Verdict(UNKNOWN, next(iter(rooms), ""), reason=estimate.problem)
    found = [_stage(estimate, one, rooms[one.device]) for one in estimate.components if one.loaded and one.device in rooms]
    host = next((room for room in rooms.values() if room.is_host), None)
    if host is not None:
        found.append(_in_host(estimate, host))
    worst = max(found, key=lambda verdict: (ORDER.index(verdict.kind), verdict.needed_bytes), default=None)
    return worst if worst is not None else Verdict(UNKNOWN, "", reason="no part of it is loaded by this ComfyUI")


def _in_host(estimate: Estimate, room: Room) -> Verdict:
    """Everything that works in host memory, together."""
    there = [one for one in estimate.components if one.device == room.device]
    weights = sum(one.loaded_bytes for one in there)
    working = max((estimate.work_of(one.kind).traced_bytes or 0 for one in there), default=0)
    needed = weights + working
    found = Verdict(WHOLE, room.device, "all", needed, room.left_bytes)
    if needed <= room.left_bytes:
        return found
    missing = needed - room.left_bytes
    going, freed = _leaving(room, missing)
    if freed >= missing:
        return replace(found, kind=EVICT, going=going, freed_bytes=freed)
    return replace(found, kind=NO, missing_bytes=missing - freed, reason="host memory")


def _stage(estimate: Estimate, part: Component, room: Room) -> Verdict:
    if room.is_host:
        return Verdict(WHOLE, room.device, part.kind)
    work = estimate.work_of(part.kind)
    weights = part.loaded_bytes
    beside = max(room.inference_bytes, work.asked_bytes + room.reserved_bytes)
    least = max(room.inference_bytes, work.least_bytes + room.reserved_bytes)
    wanted = int(weights * SPARE) + beside
    found = Verdict(WHOLE, room.device, part.kind, weights + beside, room.left_bytes)
    if room.free_bytes > wanted:
        return found
    going, freed = _leaving(room, wanted - room.free_bytes)
    there = room.free_bytes + freed
    for_weights = max(0, there - least, int(min(there * room.least_share, there - room.inference_bytes)))
    if for_weights >= weights:
        return replace(found, kind=EVICT if going else WHOLE, going=going, freed_bytes=freed)
    off = weights - for_weights
    if there <= least or not room.offloads:
        return replace(
            found, kind=NO, missing_bytes=max(off, least - there), reason="working memory" if there <= least else "device memory"
        )
    if room.host_bytes is not None and off > room.host_bytes:
        return replace(found, kind=NO, missing_bytes=off - room.host_bytes, reason="host memory")
    seconds = off / room.rate_bytes_per_s if room.rate_bytes_per_s else None
    return replace(found, kind=OFFLOAD, going=going, freed_bytes=freed, offload_bytes=off, step_seconds=seconds)


def _leaving(room: Room, missing_bytes: int) -> tuple[tuple[str, ...], int]:
    """Labels and bytes of those who leave until so much is free; everybody where that does not do."""
    going: list[str] = []
    freed = 0
    for one in room.held:
        if freed >= missing_bytes:
            break
        going.append(one.label)
        freed += one.size_bytes
    return tuple(going), freed
