"""How a bucket should be set up, how it is, and the steps from one to the other.

``observe`` asks, ``plan`` decides (pure), ``execute`` carries out one step.  Whoever plans again after everything was carried out
gets no step; rules of other people in the bucket's lifecycle stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, ModelStreamError, ObjectMissing

if TYPE_CHECKING:
    from .origin import Origin

MODELS, RESULTS, TEMP = "models", "results", "temp"
ABORT, EXPIRE, OLD = "modelstream-abort-uploads", "modelstream-expire", "modelstream-old-versions"
"""ids of our rules"""

ALWAYS_ENCRYPTED = frozenset({"r2", "gcs", "wasabi"})
"""providers that encrypt every object and have no setting for it"""
NO_VERSIONING = frozenset({"r2"})
OWN_LIFECYCLE = frozenset({"gcs"})
"""providers whose rules have another form than S3's: they are set with the provider's own tools"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """expire_days: objects go so many days after they came; old_version_days: what was overwritten does; 0: never"""

    bucket: str
    role: str
    versioning: bool = True
    encryption: bool = True
    abort_days: int = 1
    expire_days: int = 0
    old_version_days: int = 0

    @property
    def rules(self) -> dict[str, Mapping[str, Any]]:
        """By id, in the form of S3's API."""
        found: dict[str, Mapping[str, Any]] = {}
        if self.abort_days:
            found[ABORT] = _rule(ABORT, AbortIncompleteMultipartUpload={"DaysAfterInitiation": self.abort_days})
        if self.expire_days:
            found[EXPIRE] = _rule(EXPIRE, Expiration={"Days": self.expire_days})
        if self.old_version_days:
            found[OLD] = _rule(OLD, NoncurrentVersionExpiration={"NoncurrentDays": self.old_version_days})
        return found

    @property
    def words(self) -> tuple[str, ...]:
        """The rules for people."""
        return tuple(_said(rule) for rule in self.rules.values())


@dataclass(frozen=True, slots=True)
class Observed:
    """As the server says it.  unknown: what it does not say, and why"""

    exists: bool
    versioning: str = ""
    encryption: str = ""
    rules: tuple[Mapping[str, Any], ...] = ()
    unknown: Mapping[str, ModelStreamError] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """action: "create", "versioning", "lifecycle", "encryption"; before, after: in words.  ``detail``: what is sent"""

    bucket: str
    action: str
    before: str
    after: str
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Done:
    """error: why it was not; skipped: the server does not have this, which is no failure"""

    step: Step
    error: ModelStreamError | None = None
    skipped: bool = False


def observe(origin: Origin) -> Observed:
    """Raises ModelStreamError where nothing can be said of the bucket (no network, not ours)."""
    client = origin.control()
    try:
        client.head_bucket(Bucket=origin.bucket)
    except Exception as error:
        seen = origin.translate(error)
        if isinstance(seen, ObjectMissing) or _code(error) in ("404", "NoSuchBucket"):
            return Observed(exists=False)
        raise seen from None
    unknown: dict[str, ModelStreamError] = {}

    def ask(name: str, call: Any, absent: str) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = call(Bucket=origin.bucket)
            return answer
        except Exception as error:
            if _code(error) != absent:
                unknown[name] = origin.translate(error)
            return {}

    versioning = ask("versioning", client.get_bucket_versioning, "")
    rules = ask("lifecycle", client.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration")
    secret = ask("encryption", client.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError")
    algorithms = [
        str(rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", ""))
        for rule in secret.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    ]
    state = str(versioning.get("Status", ""))
    return Observed(True, state, next(filter(None, algorithms), ""), tuple(rules.get("Rules", ())), unknown)


def plan(wanted: Wanted, seen: Observed, preset: str = "") -> tuple[Step, ...]:
    """What is missing.  What the server does not say is tried, since only that shows whether it can be set."""
    steps = []
    bucket = wanted.bucket
    if not seen.exists:
        steps.append(Step(bucket, "create", "does not exist", "exists"))
    if wanted.versioning and seen.versioning != "Enabled" and preset not in NO_VERSIONING:
        steps.append(Step(bucket, "versioning", seen.versioning.lower() or "off", "enabled"))
    ours = wanted.rules
    kept = {str(rule.get("ID", "")): rule for rule in seen.rules}
    different = [name for name, rule in ours.items() if name not in kept or _essence(kept[name]) != _essence(rule)]
    gone = [name for name in (ABORT, EXPIRE, OLD) if name in kept and name not in ours]
    if (different or gone) and preset not in OWN_LIFECYCLE:
        others = [rule for rule in seen.rules if rule.get("ID", "") not in (*ours, *gone)]
        before = "; ".join(_said(kept[name]) for name in (*different, *gone) if name in kept) or "no rule"
        after = "; ".join([*(_said(ours[name]) for name in different), *(f"without {name}" for name in gone)])
        steps.append(Step(bucket, "lifecycle", before, after, [*others, *ours.values()]))
    if wanted.encryption and not seen.encryption and preset not in ALWAYS_ENCRYPTED:
        steps.append(Step(bucket, "encryption", "none by default", "SSE-S3 (AES256)"))
    return tuple(steps)


def execute(origin: Origin, step: Step) -> Done:
    """Never raises what a server says: an error of one step keeps nobody from the next."""
    client = origin.control()
    try:
        if step.action == "create":
            _create(origin, client)
        elif step.action == "versioning":
            client.put_bucket_versioning(Bucket=step.bucket, VersioningConfiguration={"Status": "Enabled"})
        elif step.action == "lifecycle":
            client.put_bucket_lifecycle_configuration(Bucket=step.bucket, LifecycleConfiguration={"Rules": step.detail})
        elif step.action == "encryption":
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
            client.put_bucket_encryption(Bucket=step.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
        else:
            raise ValueError(step.action)
    except ModelStreamError as error:
        return Done(step, error)
    except Exception as error:
        return Done(step, origin.translate(error), skipped=_code(error) in ("NotImplemented", "MethodNotAllowed", "501", "405"))
    return Done(step)


def _create(origin: Origin, client: Any) -> None:
    where: dict[str, Any] = {}
    if origin.profile.preset in ("aws", "wasabi") and origin.region != "us-east-1":
        where = {"CreateBucketConfiguration": {"LocationConstraint": origin.region}}
    try:
        client.create_bucket(Bucket=origin.bucket, **where)
    except Exception as error:
        if _code(error) == "BucketAlreadyOwnedByYou":
            return
        if _code(error) == "BucketAlreadyExists":
            step = "choose another name: bucket names are shared by all customers of a provider"
            raise ConfigError("the bucket belongs to somebody else", subject=origin.bucket, next_step=step) from None
        raise


def _rule(name: str, **action: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": ""}, **action}


def _essence(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a rule does: servers add, drop and reorder the rest."""
    actions = ("AbortIncompleteMultipartUpload", "Expiration", "NoncurrentVersionExpiration")
    place = rule.get("Filter") or {}
    found = {name: dict(rule[name]) for name in actions if rule.get(name)}
    if isinstance(found.get("Expiration"), dict):
        found["Expiration"].pop("ExpiredObjectDeleteMarker", None)
    return {"on": rule.get("Status") == "Enabled", "prefix": place.get("Prefix", rule.get("Prefix", "")) or "", **found}


def _said(rule: Mapping[str, Any]) -> str:
    days = _essence(rule)
    words = []
    if "AbortIncompleteMultipartUpload" in days:
        words.append(f"unfinished uploads go after {days['AbortIncompleteMultipartUpload'].get('DaysAfterInitiation')} d")
    if "Expiration" in days:
        words.append(f"objects expire after {days['Expiration'].get('Days')} d")
    if "NoncurrentVersionExpiration" in days:
        words.append(f"old versions go after {days['NoncurrentVersionExpiration'].get('NoncurrentDays')} d")
    return ", ".join(words) + ("" if days["on"] else " (off)")


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""
