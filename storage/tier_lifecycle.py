"""Moving objects by a rule of the bucket: a tag on each object, and for each class one rule that moves what has the tag.

The provider then moves them within a day or two, without a copy: ETag and version stay, nothing is left behind in a versioned
bucket.  Rules of others are kept as they are; ours are known by their id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ConfigError, ObjectChanged
from .restore import state_of
from .tier_copy import Moved

if TYPE_CHECKING:
    from .origin import Origin

TAG = "modelstream-class"
RULE = "modelstream-class-"
RULES_MAX, TAGS_MAX = 1000, 10


def rule_for(to_class: str) -> dict[str, Any]:
    return {
        "ID": f"{RULE}{to_class}",
        "Status": "Enabled",
        "Filter": {"Tag": {"Key": TAG, "Value": to_class}},
        "Transitions": [{"Days": _days(to_class), "StorageClass": to_class}],
    }


def _days(to_class: str) -> int:
    """S3 takes no earlier transition into its IA classes than 30 days after an object was written."""
    return 30 if to_class in ("STANDARD_IA", "ONEZONE_IA") else 0


def with_rules(existing: list[dict[str, Any]], classes: set[str]) -> list[dict[str, Any]] | None:
    """All rules with ours for these classes; None where they are there already."""
    wanted = {f"{RULE}{name}": rule_for(name) for name in sorted(classes)}
    others = [rule for rule in existing if rule.get("ID") not in wanted]
    present = {rule["ID"]: rule for rule in existing if rule.get("ID") in wanted}
    same = all(name in present and present[name].get("Transitions") == rule["Transitions"] for name, rule in wanted.items())
    return None if same and all(rule.get("Status") == "Enabled" for rule in present.values()) else [*others, *wanted.values()]


class TagMover:
    """Of one origin.  Any thread, one at a time; each call blocks."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def prepare(self, classes: set[str]) -> bool:
        """Puts the rules into the bucket; False where they are there.  Raises ModelStreamError."""
        try:
            rules = with_rules(self._rules(), classes)
            if rules is None:
                return False
            if len(rules) > RULES_MAX:
                raise ConfigError(
                    "the bucket has too many lifecycle rules", subject=self._origin.name, next_step='set way = "copy" under [tiering]'
                )
            self._client().put_bucket_lifecycle_configuration(Bucket=self._origin.bucket, LifecycleConfiguration={"Rules": rules})
        except Exception as error:
            raise self._origin.translate(error, self._origin.name) from None
        return True

    def move(self, key: str, etag: str, to_class: str) -> Moved:
        """Tags the object.  Raises like `tier_copy.Mover.move`."""
        subject = self._origin.subject(key)
        try:
            head = self._client().head_object(Bucket=self._origin.bucket, Key=key)
            state = state_of(head)
            if state.etag != etag:
                raise ObjectChanged("the object was overwritten since the plan was made", subject=subject, next_step="make a new plan")
            if state.storage_class == to_class:
                return Moved(etag, to_class, already=True)
            tags = {row["Key"]: row["Value"] for row in self._client().get_object_tagging(Bucket=self._origin.bucket, Key=key)["TagSet"]}
            if tags.get(TAG) == to_class:
                return Moved(etag, state.storage_class, already=True)
            tags[TAG] = to_class
            if len(tags) > TAGS_MAX:
                raise ConfigError("the object has no room for one more tag", subject=subject, next_step='set way = "copy" under [tiering]')
            rows = [{"Key": name, "Value": value} for name, value in tags.items()]
            self._client().put_object_tagging(Bucket=self._origin.bucket, Key=key, Tagging={"TagSet": rows})
        except Exception as error:
            raise self._origin.translate(error, subject) from None
        return Moved(etag, state.storage_class)

    def _rules(self) -> list[dict[str, Any]]:
        try:
            return list(self._client().get_bucket_lifecycle_configuration(Bucket=self._origin.bucket).get("Rules", ()))
        except Exception as error:
            response = getattr(error, "response", {})
            if response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
                return []
            raise

    def _client(self) -> Any:
        return self._origin.control()
