"""Pinning the RAM tier's memory for CUDA, off the path of every load.

Pinned memory is what a device copies from at full speed, and pinning costs half a second a gigabyte.  So an object's memory is
registered after it was loaded, by a thread that exists only while there is something to do, a slice at a time, and never while
something is loaded.  Slices end where tensors end: a copy may not reach from a registered range into another.

Registered memory never goes back to the system or to another object as it is: `release` takes the registration off first, after
waiting for copies that the device may still be making.  The bound is the configuration's and what ComfyUI's own ledger leaves;
the longest unused object gives way.  The first refusal by the system ends it, with an event: the next would be refused too.

Threads: every method may be called from any thread.  Lock order: ``_turn`` (one registers or releases at a time) before
``_lock`` (the books, for moments).  The CUDA runtime is called with ``_turn`` held only.
"""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..storage.events import EventBus, HostMemoryPinned, TierDegraded
from ..storage.safetensors_header import SafetensorsHeader

SLICE_BYTES = 256 << 20
"""what is registered at once, unless one tensor is larger: about 0.1 s, so a load that begins waits no longer"""
QUIET_S = 2.0
"""after the last load; ComfyUI builds its models and runs right after one"""
ALREADY_REGISTERED = 712
"""cudaErrorHostMemoryAlreadyRegistered: ComfyUI was faster with one of the tensors; the rest can still be pinned"""


class Cuda(Protocol):
    """As much of the CUDA runtime as pinning needs; codes are cudaError_t, 0 is success."""

    def register(self, address: int, size_bytes: int) -> int: ...
    def unregister(self, address: int) -> int: ...
    def synchronize(self) -> None: ...
    def forget_error(self) -> None: ...  # a refusal may stay queued on the device and hit whoever comes next


class Ledger(Protocol):
    """Who else pins: ComfyUI's books."""

    def room_bytes(self) -> int: ...
    def taken(self, size_bytes: int) -> None: ...  # by us; negative: given back
    def ranges(self) -> Sequence[tuple[int, int]]: ...  # (address, end) of what others have pinned


@dataclass(slots=True)
class _Pinned:
    """One object's memory; ``slices``: address → size of what is registered."""

    subject: str
    header: SafetensorsHeader
    buffer: weakref.ref[Any]
    address: int
    size_bytes: int
    slices: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = False

    @property
    def pinned_bytes(self) -> int:
        return sum(self.slices.values())


class Pinner:
    """``cuda`` None: there is no device in use yet.  ``busy``: a load is under way."""

    def __init__(
        self,
        limit_bytes: Callable[[], int],
        ledger: Ledger,
        cuda: Callable[[], Cuda | None],
        bus: EventBus,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._ledger = ledger
        self._cuda = cuda
        self._bus = bus
        self._busy = busy
        self._clock = clock
        self._quiet_s = quiet_s
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._objects: OrderedDict[int, _Pinned] = OrderedDict()  # by address, the longest unused first
        self._last_load_s = 0.0
        self._thread: threading.Thread | None = None
        self._off = False
        self.problem = ""
        """why no more is pinned; empty while it works"""

    @property
    def pinned_bytes(self) -> int:
        with self._lock:
            return sum(one.pinned_bytes for one in self._objects.values())

    # -- from the loading path: quick ------------------------------------------------------------------------------------
    def later(self, subject: str, header: SafetensorsHeader, buffer: Any) -> None:
        """The object was loaded: its memory is pinned when nothing is loaded any more.  Anything but arena memory is left."""
        if not isinstance(buffer, ctypes.Array):
            return
        address = ctypes.addressof(buffer)
        with self._wake:
            self._last_load_s = self._clock()
            if self._off:
                return
            known = self._objects.get(address)
            if known is not None and known.buffer() is buffer:
                self._objects.move_to_end(address)
                known.done = False
            else:
                # what is registered there under a name that has gone was released before the arena gave the region out again
                self._objects[address] = _Pinned(subject, header, weakref.ref(buffer), address, ctypes.sizeof(buffer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-pin", daemon=True)
                self._thread.start()

    # -- before memory goes ----------------------------------------------------------------------------------------------
    def release(self, address: int, size_bytes: int) -> None:
        """Takes the registrations off [address, address + size_bytes).  Blocks: called where memory is given back or reused."""
        with self._lock:
            touched = any(one.address < address + size_bytes and address < one.address + one.size_bytes for one in self._objects.values())
        if not touched:
            return
        with self._turn:
            with self._lock:
                gone = [one for one in self._objects.values() if address <= one.address < address + size_bytes]
                for one in gone:
                    del self._objects[one.address]
            self._unregister(gone)

    def close(self) -> None:
        """Nothing is pinned afterwards, nor ever again."""
        with self._wake:
            self._off = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._turn:
            with self._lock:
                gone = list(self._objects.values())
                self._objects.clear()
            self._unregister(gone)

    # -- the thread ------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while (one := self._next()) is not None:
            try:
                with self._turn:
                    self._pin_slice(one)
            except Exception as error:
                self._stop(type(error).__name__)

    def _next(self) -> _Pinned | None:
        """The most recently used object that is not wholly pinned, once it is quiet; None ends the thread."""
        with self._wake:
            while True:
                one = next((o for o in reversed(self._objects.values()) if not o.done and o.buffer() is not None), None)
                if one is None or self._off:
                    self._thread = None
                    return None
                wait_s = self._last_load_s + self._quiet_s - self._clock()
                if wait_s <= 0 and not self._busy():
                    return one
                self._wake.wait(max(wait_s, self._quiet_s / 4, 0.01))

    def _pin_slice(self, one: _Pinned) -> None:
        buffer, cuda = one.buffer(), self._cuda()  # holding the buffer: its region is not reused meanwhile
        if buffer is None or cuda is None:
            one.done = True
            return
        slices = [s for s in slices_of(one.header, one.address, self._ledger.ranges()) if s[0] not in one.slices]
        if not slices or not self._room_for(one, slices[0][1]):
            one.done = True
            self._tell(one)
            return
        (address, size_bytes), started_s = slices[0], self._clock()
        code = cuda.register(address, size_bytes)
        one.seconds += self._clock() - started_s
        if code == 0:
            with self._lock:
                one.slices[address] = size_bytes
            self._ledger.taken(size_bytes)
            return
        cuda.forget_error()
        if code == ALREADY_REGISTERED:
            one.done = True
        else:
            self._stop(f"cudaHostRegister answered {code}")

    def _room_for(self, one: _Pinned, size_bytes: int) -> bool:
        """Others that were not used for longer give way."""
        while True:
            limit, pinned = self._limit_bytes(), self.pinned_bytes
            if pinned + size_bytes <= limit and size_bytes <= self._ledger.room_bytes():
                return True
            with self._lock:
                older = next((o for o in self._objects.values() if o.slices), None)
                if older is None or older is one:
                    return False
                older.done = True
                going = _Pinned(older.subject, older.header, older.buffer, older.address, older.size_bytes, older.slices)
                older.slices = {}
            self._unregister([going])

    def _unregister(self, gone: list[_Pinned]) -> None:
        """With ``_turn`` held; these are in nobody's books any more."""
        gone = [one for one in gone if one.slices]
        cuda = self._cuda() if gone else None
        if cuda is None:
            return
        cuda.synchronize()
        for one in gone:
            started_s, size_bytes = self._clock(), one.pinned_bytes
            codes = [cuda.unregister(address) for address in one.slices]
            self._ledger.taken(-size_bytes)
            if any(codes):
                cuda.forget_error()
                self._stop(f"cudaHostUnregister answered {max(codes)}")
            self._bus.emit(HostMemoryPinned(one.subject, -size_bytes, self.pinned_bytes, self._clock() - started_s))

    def _tell(self, one: _Pinned) -> None:
        if one.slices:
            self._bus.emit(HostMemoryPinned(one.subject, one.pinned_bytes, self.pinned_bytes, one.seconds))

    def _stop(self, cause: str) -> None:
        with self._lock:
            self._off, self.problem = True, cause
        self._bus.emit(TierDegraded("ram", "pinning", f"{cause}: no more memory is pinned, copies to the device are slower"))


def slices_of(header: SafetensorsHeader, address: int, taken: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """(address, bytes) of what to register, whole tensors each, front to back; tensors that others have pinned are left out."""
    found: list[tuple[int, int]] = []
    start = end = 0
    for tensor in sorted(header.tensors.values(), key=lambda one: one.start):
        if tensor.end == tensor.start:
            continue
        first, last = address + tensor.start, address + tensor.end
        theirs = any(a < last and first < b for a, b in taken)
        if start and (theirs or first != end or last - start > SLICE_BYTES):
            found.append((start, end - start))
            start = 0
        if not theirs:
            start, end = start or first, last
    if start:
        found.append((start, end - start))
    return found
