"""The one family of errors that Model Stream raises on purpose.

Each message answers three questions: what failed and for which object, why, and what the user can do
about it.  ComfyUI shows ``str(error)`` in its dialog, so no message may hold a secret, a presigned URL or
an absolute path.  ``code`` is stable and safe as a metric label.
"""

from __future__ import annotations


class ModelStreamError(Exception):
    """Base of the family.

    problem:   what failed, a clause without a full stop ("the download was cut short")
    subject:   the object, "origin:key"; empty where there is none
    cause:     what was observed ("the server answered 403 AccessDenied, request id X")
    next_step: what the user can do now
    """

    code = "error"

    def __init__(self, problem: str, *, subject: str = "", cause: str = "", next_step: str = "") -> None:
        self.problem = problem
        self.subject = subject
        self.cause = cause
        self.next_step = next_step
        super().__init__(self._text())

    def about(self, subject: str) -> ModelStreamError:
        """The same error, naming the object; for errors raised where the object was not known."""
        return type(self)(self.problem, subject=subject, cause=self.cause, next_step=self.next_step)

    def _text(self) -> str:
        head = f"{self.subject}: {self.problem}" if self.subject else self.problem
        sentences = [head, self.cause, self.next_step and f"What to do: {self.next_step}"]
        return ". ".join(s.rstrip(". ") for s in sentences if s) + "."


class ConfigError(ModelStreamError):
    """The owner's configuration is wrong; the message names the key."""

    code = "config"


class OriginUnreachable(ModelStreamError):
    """DNS failure, refused or reset connections, timeouts: nothing is known about the object."""

    code = "unreachable"


class UntrustedServer(ModelStreamError):
    """TLS verification failed, or TLS was spoken to a plain port or the other way round."""

    code = "tls"


class AccessDenied(ModelStreamError):
    """An authenticated 403. Without List permission S3 also answers this for a missing key."""

    code = "denied"


class CredentialsExpired(ModelStreamError):
    """The credentials were refused as expired, also after one refresh."""

    code = "credentials"


class ClockSkewed(ModelStreamError):
    """403 RequestTimeTooSkewed: the message gives local time, server time and the offset."""

    code = "clock"


class ObjectMissing(ModelStreamError):
    """An authenticated 404, NoSuchKey or a delete marker. Nothing else may mean "deleted"."""

    code = "missing"


class ObjectChanged(ModelStreamError):
    """The object was overwritten while it was read, more than once."""

    code = "changed"


class ObjectArchived(ModelStreamError):
    """The object is in an archive class and has to be restored first (InvalidObjectState)."""

    code = "archived"


class BadAnswer(ModelStreamError):
    """The answer is not what S3 would say: captive portal, wrong range, wrong length, too often."""

    code = "bad_answer"


class Throttled(ModelStreamError):
    """503 SlowDown (or 429) until the deadline."""

    code = "throttled"


class DeadlineExceeded(ModelStreamError):
    """The transfer's overall deadline passed."""

    code = "deadline"


class TransferCancelled(ModelStreamError):
    """Nobody wants the object any more."""

    code = "cancelled"


class CorruptObject(ModelStreamError):
    """The bytes do not have the checksum that the server or our record says they have."""

    code = "corrupt"


class InvalidSafetensors(ModelStreamError):
    """The safetensors header breaks a rule of the format; the message says which."""

    code = "safetensors"


class PickleRefused(ModelStreamError):
    """A pickle (it can run code when it is loaded) from a bucket that does not allow pickles."""

    code = "pickle"


class NoRoom(ModelStreamError):
    """A tier has no room for the object and may not evict enough to make it."""

    code = "no_room"


class DiskFailed(ModelStreamError):
    """The disk of a tier answered with an I/O error, is read-only or went away."""

    code = "disk"


class NameTaken(ModelStreamError):
    """Something else lies under the name that was to be published, and nobody said that it may be overwritten."""

    code = "name_taken"


class SourceChanged(ModelStreamError):
    """The file was written to or replaced while it was published."""

    code = "source_changed"


class QuotaExceeded(ModelStreamError):
    """The server has no room left for this bucket or account."""

    code = "quota"


class PublishRefused(ModelStreamError):
    """What was to be published is nothing that belongs there, or the owner does not allow it."""

    code = "publish_refused"
