"""A lane: one thread with one keep-alive connection, doing one step after another for whichever transfer needs it most.

A lane that has nothing to do blocks; after some seconds it closes its connection and ends.  So an idle engine has
neither threads nor sockets, and transfers that follow each other share warm connections.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .answers import Refusal, Refused, Then, with_archive_state
from .checksum import crc64, crc64_of
from .errors import AccessDenied, CorruptObject, ModelStreamError, TransferCancelled
from .events import (
    CorruptionFound,
    CredentialsRefreshed,
    Event,
    TransferFailed,
    TransferFinished,
    TransferStarted,
    TransferStopped,
    Unverified,
)
from .landing import TransferResult
from .objects import Extent, ObjectHead, at_head
from .parts import Span, missing, part_bytes_for, plan
from .patience import SLOW_MAX
from .phases import Do, Phase
from .pin import look
from .reading import Attempt, Part, Reading
from .receive import WIRE_FAULTS, Stop, fault_of, receive
from .transfer import Step, Transfer
from .wire import Address, Connection, ConnectionShut

if TYPE_CHECKING:
    from .engine import TransferEngine

SCRATCH_MAX_BYTES = 64 << 20
"""of one part that is read a second time"""

FAULTS = (Refused, ModelStreamError, *WIRE_FAULTS)


class Lane:
    """Everything here runs in the lane's own thread.

    spare: only there to bring one transfer to its end while all other lanes are at work; makes no connection.
    """

    def __init__(self, engine: TransferEngine, number: int, *, spare: bool = False) -> None:
        self.spare = spare
        self._engine = engine
        self._lock = engine.lock
        self._connection: Connection | None = None
        self._tls: object = None
        self.thread = threading.Thread(target=self._run, name=f"modelstream-lane-{number}", daemon=True)

    def _run(self) -> None:
        try:
            while self._one_step():
                pass
        finally:
            self._drop_connection()

    def _one_step(self) -> bool:
        """In a frame of its own: nothing of a transfer is kept while the lane waits for the next."""
        step = self._engine.claim(self)
        if step is None:
            return False
        transfer = step.transfer
        try:
            self._do(step)
        except Exception as error:  # whatever it is, the transfer must end and the lane go on
            self._broken(transfer, error)
        finally:
            self._engine.stepped(step)
        return True

    def _do(self, step: Step) -> None:
        if step.do is Do.LOOK and step.stop is not None:
            self._look(step.transfer, step.stop)
        elif step.do is Do.WARM:
            self._warm(step.transfer)
        elif step.do is Do.VERIFY:
            self._verify(step.transfer)
        elif step.do is Do.FINISH:
            self._finish(step.transfer)
        elif step.attempt is not None:
            self._read(step.transfer, step.attempt)

    def _broken(self, transfer: Transfer, error: Exception) -> None:
        """Something outside of the wire failed: the zone, the origin, a mistake of ours."""
        known = error if isinstance(error, ModelStreamError) else _unforeseen(transfer, error)
        with self._lock:
            transfer.busy = False
            transfer.fail(known)
            self._engine.staff()

    # -- connections ---------------------------------------------------------------------------------------------------
    def _connect(self, transfer: Transfer, address: Address) -> Connection:
        """The lane's own connection if it leads there, else a new one, not yet opened."""
        tls = transfer.origin.tls_context() if address.tls else None
        kept = self._connection
        if kept is not None and kept.usable and kept.address == address and self._tls is tls:
            return kept
        self._drop_connection()
        self._tls = tls
        self._connection = Connection(
            address,
            tls,
            connect_timeout_s=transfer.origin.profile.connect_timeout_s,
            read_timeout_s=transfer.stall_s,
        )
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _warm(self, transfer: Transfer) -> None:
        """Connects while another lane waits for HEAD.  A failure is told by the request that will need the connection."""
        assert transfer.address is not None
        connection = self._connect(transfer, transfer.address)
        try:
            connection.open()
        except (*WIRE_FAULTS, ConnectionShut):
            self._drop_connection()

    # -- HEAD ----------------------------------------------------------------------------------------------------------
    def _look(self, transfer: Transfer, stop: Stop) -> None:
        number = transfer.signer.number

        def open_to(address: Address) -> Connection:
            with self._lock:
                transfer.address = address
                self._engine.staff()
            connection = self._connect(transfer, address)
            stop.attach(connection)
            return connection

        head, refusal = None, None
        try:
            head = look(transfer.signer, open_to, transfer.obj.subject, self._counter(transfer))
        except ConnectionShut:
            pass
        except FAULTS as error:
            refusal = self._sign_again(transfer, fault_of(error, transfer.obj.subject), number)
            self._drop_connection()
        finally:
            stop.attach(None)
        with self._lock:
            must_prepare = transfer.looked(head) if head is not None else False
            transfer.looking = None
            events = transfer.look_failed(refusal) if refusal is not None else []
            self._engine.staff()
        self._emit(events)
        if must_prepare and head is not None:
            self._prepare(transfer, head)

    def _prepare(self, transfer: Transfer, head: ObjectHead) -> None:
        transfer.signer.pin(head)
        view = transfer.zone.prepare(head)
        if view.nbytes != head.size_bytes or view.readonly or not view.c_contiguous:
            raise ValueError("the landing zone's buffer does not fit the object")
        view = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        held = tuple(transfer.zone.extents())
        part_bytes = self._part_bytes(transfer, head)
        parts = [Part(span, view) for span in plan(missing(head.size_bytes, held), part_bytes)]
        reading = Reading(parts, held, transfer.times())
        transfer.resumed_bytes = reading.held_bytes
        if not transfer.changes:
            t = transfer
            self._emit([TransferStarted(t.id, t.obj.subject, head.size_bytes, reading.held_bytes, t.priority.name.lower())])
        with self._lock:
            transfer.prepared(view, reading)
            self._engine.staff()

    def _part_bytes(self, transfer: Transfer, head: ObjectHead) -> int:
        count = transfer.flow.count
        return part_bytes_for(head.size_bytes, count.target, self._engine.settings.part_size_bytes, count.rate_bytes_per_s)

    # -- parts -----------------------------------------------------------------------------------------------------------
    def _read(self, transfer: Transfer, attempt: Attempt) -> None:
        assert transfer.address is not None and transfer.head is not None
        head = transfer.head
        connection = self._connect(transfer, transfer.address)
        try:
            connection.open()
        except ConnectionShut:
            refusal = None
        except WIRE_FAULTS as error:
            refusal = fault_of(error, transfer.obj.subject)
        else:
            with self._lock:
                if not transfer.enter(attempt):
                    return
            if attempt.hedge:
                self._emit([transfer.hedged(attempt)])
            self._read_inside(transfer, attempt, connection, head)
            return
        self._drop_connection()
        self._put_back(transfer, attempt, refusal)

    def _read_inside(self, transfer: Transfer, attempt: Attempt, connection: Connection, head: ObjectHead) -> None:
        stop, refusal = attempt.stop, None
        try:
            stop.attach(connection)
            self._counter(transfer)()
            patient = attempt.part.tries.slow >= SLOW_MAX
            receive(connection, transfer.signer, attempt.sink, head, stop, transfer.watch, patient=patient)
        except ConnectionShut:
            pass
        except FAULTS as error:
            refusal = None if stop.why else with_archive_state(fault_of(error, transfer.obj.subject), head)
            if isinstance(error, Refused) and refusal is not None:
                refusal = self._sign_again(transfer, refusal, error.signature)
            else:
                self._drop_connection()
        finally:
            stop.attach(None)
        try:
            whole = attempt.sink.full and (not attempt.hedge or self._win(transfer, attempt))
            if whole:
                self._whole(transfer, attempt)
            else:
                self._put_back(transfer, attempt, refusal)
        finally:
            with self._lock:
                transfer.leave()
                self._engine.staff()

    def _win(self, transfer: Transfer, attempt: Attempt) -> bool:
        """A hedge has everything: the main attempt is stopped and waited for, then its rest is copied.  False: it came first after all."""
        part = attempt.part
        with self._lock:
            if part.main is not None:
                part.main.stop.stop("lost")
                while part.main is not None:
                    self._lock.wait()
            if part.sink.full or transfer.phase is Phase.FINISH:
                return False
        part.sink.take(attempt.sink)
        return True

    def _whole(self, transfer: Transfer, attempt: Attempt) -> None:
        """Every byte of the part is there.  Runs inside: the zone still owns its buffer."""
        reading = attempt.reading
        if reading.checking:
            self._compare(transfer, attempt.part)
        with self._lock:
            if attempt.part not in reading.running:
                return
            extent = transfer.landed(attempt)
            self._lock.notify_all()
        if not reading.checking:
            transfer.zone.landed(extent)

    def _put_back(self, transfer: Transfer, attempt: Attempt, refusal: Refusal | None) -> None:
        with self._lock:
            events = transfer.put_back(attempt, refusal)
            self._engine.staff()
        self._emit(events)

    def _compare(self, transfer: Transfer, part: Part) -> None:
        """A part was read a second time: where it differs from the first time, the second reading replaces it."""
        assert transfer.view is not None
        sink, place = part.sink, transfer.view[part.span.offset : part.span.end]
        if sink.crc64 == (crc64(place) if part.expected is None else part.expected):
            return
        place[:] = sink.view
        replaced = getattr(transfer.zone, "replaced", None)
        if replaced is not None:
            replaced(Extent(part.span.offset, part.span.length, sink.crc64))

    def _sign_again(self, transfer: Transfer, refusal: Refusal, number: int) -> Refusal:
        """What signing can mend is mended here; what it cannot comes back as a failure."""
        if refusal.then is Then.SIGN:
            renewed = transfer.signer.renewed(number)
            if renewed is None:
                return Refusal(refusal.reason, Then.FAIL, refusal.error)
            if renewed == "refreshed":
                self._emit([CredentialsRefreshed(transfer.origin.name)])
        elif isinstance(refusal.error, AccessDenied) and transfer.head is not None and transfer.signer.sign_in_headers(number):
            return Refusal("status", Then.SIGN, refusal.error)
        return refusal

    # -- the end -----------------------------------------------------------------------------------------------------------
    def _verify(self, transfer: Transfer) -> None:
        head, reading = transfer.head, transfer.reading
        assert head is not None and reading is not None
        total = crc64_of(reading.done, head.size_bytes)
        subject = transfer.obj.subject
        if head.crc64nvme is None:
            self._warn_unverified(transfer)
            return self._verified(transfer, head, total, "size_only")
        if total == head.crc64nvme:
            return self._verified(transfer, head, total, "crc64nvme")
        if not transfer.rechecked:
            self._emit([CorruptionFound("wire", subject, "the object's CRC64NVME differs; every part is read again and compared")])
            again = Reading(_second_parts(reading.done, self._part_bytes(transfer, head)), (), reading.times, checking=True)
            with self._lock:
                transfer.recheck(again)
                self._engine.staff()
            return None
        raise CorruptObject(
            "the bytes are not what the server's checksum says",
            subject=subject,
            cause="the CRC64NVME of the whole object differs, also after every part was read a second time",
            next_step="check the object in the bucket; if it is whole, the network or a proxy damages it",
        )

    def _verified(self, transfer: Transfer, head: ObjectHead, total: int, how: str) -> None:
        obj = at_head(transfer.obj, head)
        value = TransferResult(
            obj=obj,
            head=head,
            crc64=total,
            verified=how,
            changed=obj is not transfer.obj,
            seconds=self._engine.clock() - transfer.started_s,
            wire_bytes=transfer.watch.meter.total_bytes,
            resumed_bytes=transfer.resumed_bytes,
            requests=transfer.requests,
            retries=transfer.retries,
        )
        with self._lock:
            transfer.verified(value)
            self._engine.staff()

    def _warn_unverified(self, transfer: Transfer) -> None:
        with self._lock:
            first, transfer.flow.warned_unverified = not transfer.flow.warned_unverified, True
        if first:
            self._emit([Unverified(transfer.origin.name, transfer.obj.subject)])

    def _finish(self, transfer: Transfer) -> None:
        self._emit([_last_event(transfer)])
        for callback in self._engine.finished(transfer):
            try:
                callback(transfer)
            except Exception as error:  # one who wants to know must not keep the others from it
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self.thread)))

    def _counter(self, transfer: Transfer) -> Callable[[], None]:
        def count() -> None:
            with self._lock:
                transfer.requests += 1

        return count

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            self._engine.bus.emit(event)


def _unforeseen(transfer: Transfer, error: Exception) -> ModelStreamError:
    """An error that is not of the wire says where it was raised (file and line, no folder): it is a defect, or the disk's."""
    known = transfer.origin.translate(error, transfer.obj.subject)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if isinstance(error, OSError) or place is None:
        return known
    where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}"
    step = "report this with the text above; the download can be started again"
    cause = f"{type(error).__name__} at {where}"
    return ModelStreamError("the download met an internal error", subject=known.subject, cause=cause, next_step=step)


def _second_parts(done: list[Extent], part_bytes: int) -> list[Part]:
    """Along the extents of the first reading, whose checksums are known (a zone's buffer need not be readable); only
    extents that are too long for scratch memory are cut, and compared with the buffer.
    """
    parts: list[Part] = []
    for extent in sorted(done):
        if extent.length <= SCRATCH_MAX_BYTES:
            parts.append(Part(Span(extent.offset, extent.length), None, extent.crc64))
        else:
            parts += [Part(span, None) for span in plan([Span(extent.offset, extent.length)], part_bytes)]
    return parts


def _last_event(transfer: Transfer) -> Event:
    subject, value, error = transfer.obj.subject, transfer.value, transfer.error
    if value is not None:
        size = value.head.size_bytes
        return TransferFinished(transfer.id, subject, size, value.wire_bytes, value.seconds, value.requests, value.retries, value.verified)
    assert error is not None
    if isinstance(error, TransferCancelled):
        return TransferStopped(transfer.id, subject, transfer.progress().landed_bytes)
    return TransferFailed(transfer.id, subject, error.code, str(error))
