"""As whom an origin signs: the keys of the profile, or what AWS's own chain finds.

Keys in the profile need no botocore at all.  Any thread may call anything; one lock, never held while
somebody else's lock is taken.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import environment
from .config import ProfileConfig
from .errors import ConfigError
from .origin_errors import error_from_exception

Clock = Callable[[], float]

_JUST_REFRESHED_S = 30.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Named as botocore's signers read them.  The secrets are not in the repr."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CredentialsFrom:
    """Where keys come from, in words, and never what they are.

    expires_s: seconds since the epoch; None: they do not expire, or nobody says when; renewed: new ones are fetched in time
    """

    source: str
    expires_s: float | None = None
    renewed: bool = False


class CredentialSource:
    """The keys of one profile, renewed on demand.

    reread: gives the profile as the file says it now (None: gone), so that rotated keys are picked up.
    """

    def __init__(
        self, profile: ProfileConfig, reread: Callable[[], ProfileConfig | None] | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self._profile = profile
        self._reread = reread
        self._clock = clock
        self._lock = threading.Lock()
        self._static = _static_keys(profile)
        self._session: Any = None
        self._resolved: Any = None
        self._changed_s = float("-inf")

    @property
    def anonymous(self) -> bool:
        return self._profile.signing == "anonymous"

    def keys(self) -> Keys | None:
        """What to sign with now; None for an anonymous profile.

        May read files or ask the instance's metadata service.  Raises ConfigError or CredentialsExpired.
        """
        if self.anonymous:
            return None
        with self._lock:
            return self._static or self._chain_keys()

    def described(self) -> CredentialsFrom:
        """May read files or ask the instance's metadata service.  Raises like ``keys``."""
        if self.anonymous:
            return CredentialsFrom("none: the profile is anonymous")
        with self._lock:
            if self._static:
                kind = "temporary keys" if self._static.token else "keys"
                return CredentialsFrom(f"{kind} in the configuration")
            self._chain_keys()
            method = _METHODS.get(str(getattr(self._resolved, "method", "")), "AWS's own chain")
            expires = getattr(self._resolved, "_expiry_time", None)  # botocore's RefreshableCredentials have no public name for it
            return CredentialsFrom(method, expires.timestamp() if isinstance(expires, datetime.datetime) else None, expires is not None)

    def refresh(self) -> bool:
        """Reads everything again.  True when the keys are new, also when another thread renewed them moments ago."""
        if self.anonymous:
            return False
        with self._lock:
            if self._clock() - self._changed_s < _JUST_REFRESHED_S:
                return True
            old = self._static or self._chain_keys()
            if self._static:
                profile = self._reread() if self._reread else None
                self._static = (_static_keys(profile) if profile else None) or self._static
                changed = self._static != old
            else:
                self._session = self._resolved = None
                changed = self._chain_keys() != old
            if changed:
                self._changed_s = self._clock()
            return changed

    def region(self) -> str:
        """The profile's region, else what AWS's own tools would take."""
        if self._profile.region:
            return self._profile.region
        if not self._profile.aws_profile and (region := environment.aws_region()):
            return region
        with self._lock:
            try:
                return self._chain_session().get_config_variable("region") or "us-east-1"
            except Exception as error:
                raise error_from_exception(error, f"profile {self._profile.name}") from None

    def boto3_session(self) -> Any:
        """A boto3 session with these keys, for the control plane."""
        import boto3

        with self._lock:
            if self._static:
                k = self._static
                return boto3.session.Session(k.access_key, k.secret_key, k.token, region_name=self._profile.region or None)
            return boto3.session.Session(botocore_session=self._chain_session())

    def _chain_session(self) -> Any:
        if self._session is None:
            import botocore.session

            self._session = botocore.session.Session(profile=self._profile.aws_profile or None)
        return self._session

    def _chain_keys(self) -> Keys:
        try:
            if self._resolved is None:
                self._resolved = self._chain_session().get_credentials()
            frozen = self._resolved.get_frozen_credentials() if self._resolved else None
        except Exception as error:
            raise error_from_exception(error, f"profile {self._profile.name}") from None
        if frozen is None or not frozen.access_key:
            raise ConfigError(
                f"profile {self._profile.name} has no credentials",
                cause="neither the profile nor AWS's own chain (environment, ~/.aws, instance role) has any",
                next_step='add access_key_id and secret_access_key, or aws_profile, or signing = "anonymous"',
            )
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)


_METHODS = {
    "env": "the environment",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "custom-process": "credential_process of ~/.aws/config",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role of the pod (web identity)",
    "sso": "AWS SSO",
    "iam-role": "the instance's role",
    "container-role": "the container's role",
}


def _static_keys(profile: ProfileConfig) -> Keys | None:
    if not profile.access_key_id:
        return None
    return Keys(profile.access_key_id, profile.secret_access_key, profile.session_token or None)
