"""The owner's configuration: one TOML file, read once into frozen values.

Endpoints, buckets, credentials and paths exist only here: a widget or a route selects among them and never
adds one.  Unknown keys are refused by name.  Everything raises ``ConfigError``; nothing here touches a network.
``docs/configuration.md`` documents every key.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .config_alerts import AlertsConfig
from .config_cache import CacheConfig
from .config_cost import CostConfig
from .config_endpoint import checked_endpoint
from .config_memory import FitConfig, RamConfig, VramConfig
from .config_metrics import AccessConfig, MetricsConfig
from .config_precision import PrecisionRule
from .config_prefetch import BootConfig, PrefetchConfig
from .config_publish import PublishConfig, ResultsConfig
from .config_read import boolean, expect, integer, key, number, one_of, read_table, refuse_unknown, tables, text, texts
from .config_read import path as path_reader
from .config_restore import RestoreConfig
from .config_ssd import SsdConfig
from .config_tiering import TieringConfig
from .errors import ConfigError
from .presets import OTHER, PRESETS

MIB = 1 << 20
GIB = 1 << 30

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""profile and origin names: they are metric labels and are shown to people"""


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """How to reach one S3 service and as whom.  Build it with ``profile_from``: defaults depend on the preset.

    After reading, ``endpoint`` is normal or empty (AWS: it follows from the region), ``addressing`` is never
    "auto" and the checksum settings are never "auto".
    """

    name: str
    preset: str = key(one_of(*PRESETS), "")
    endpoint: str = key(text(empty=False), "")
    region: str = key(text(empty=False, most=64), "")
    access_key_id: str = key(text(empty=False), "")
    secret_access_key: str = key(text(empty=False), "", secret=True)
    session_token: str = key(text(empty=False, most=16384), "", secret=True)
    aws_profile: str = key(text(empty=False), "")
    addressing: str = key(one_of("auto", "path", "virtual"), "auto")
    ca_bundle: Path | None = key(path_reader(), None)  # noqa: RUF009
    verify_tls: bool = key(boolean(), True)
    allow_http: bool = key(boolean(), False)
    connect_timeout_s: float = key(number(0.1, 300), 5.0)
    read_timeout_s: float = key(number(0.1, 600), 10.0)
    max_attempts: int = key(integer(1, 20), 3)
    request_checksums: str = key(one_of("when_supported", "when_required"), "auto")
    response_checksums: str = key(one_of("when_supported", "when_required"), "auto")
    signing: str = key(one_of("presign", "each_request", "anonymous"), "presign")

    @property
    def is_aws(self) -> bool:
        return not self.endpoint or self.endpoint.partition("://")[2].partition("/")[0].endswith((".amazonaws.com", ".amazonaws.com.cn"))

    @property
    def holds_secrets(self) -> bool:
        return bool(self.secret_access_key or self.session_token)


@dataclass(frozen=True, slots=True)
class FolderRule:
    """Keys under ``prefix`` (relative to the origin's prefix, ends with "/" unless empty) appear in ComfyUI's ``folder``."""

    prefix: str
    folder: str


@dataclass(frozen=True, slots=True)
class OriginConfig:
    """One bucket prefix.  ``prefix`` is empty or ends with "/"; so does each of ``allow_pickles`` (relative to ``prefix``)."""

    name: str
    bucket: str
    profile: ProfileConfig
    prefix: str = ""
    allow_pickles: tuple[str, ...] = ()
    folders: tuple[FolderRule, ...] = ()
    mirror: bool = False
    """takes copies of what farther origins hold; see cache/near.py"""
    mirror_budget_bytes: int | None = None

    def allows_pickle(self, object_key: str) -> bool:
        """Whether the owner allows pickles at this full object key."""
        inside = object_key.startswith(self.prefix)
        return inside and any(object_key[len(self.prefix) :].startswith(allowed) for allowed in self.allow_pickles)


@dataclass(frozen=True, slots=True)
class TransferConfig:
    connections_max: int = key(integer(0, 256), 0)
    """0: decided by the machine"""
    part_size_mb: int = key(integer(0, 5120), 0)
    """MiB; 0: decided by size and rate"""
    rate_limit_mbit: float = key(number(0, 1e6), 0.0)
    """10**6 bits per second, all transfers together; 0: none"""
    deadline_s: float = key(number(0, 1e7), 3600.0)
    """for one object, start to end; 0: none"""
    no_progress_s: float = key(number(1, 86400), 60.0)
    """a transfer that has got nothing new for so long (server down, throttled for ever) gives up"""
    low_speed_kib_s: float = key(number(0, 1e7), 256.0)
    low_speed_s: float = key(number(0.1, 3600), 10.0)
    stall_s: float = key(number(0.1, 3600), 10.0)
    retries: int = key(integer(0, 100), 6)
    """of one part in a row without a new byte"""
    compressed: str = key(one_of("auto", "always", "never"), "auto")
    """whether compressed forms are read: where they pay, wherever there is one, or not at all"""

    @property
    def part_size_bytes(self) -> int:
        return self.part_size_mb * MIB

    @property
    def rate_limit_bytes_per_s(self) -> float:
        return self.rate_limit_mbit * 125_000

    @property
    def low_speed_bytes_per_s(self) -> float:
        return self.low_speed_kib_s * 1024


@dataclass(frozen=True, slots=True)
class CatalogConfig:
    refresh_s: float = key(number(0, 1e7), 300.0)
    """0: list once at start and when asked"""
    max_objects: int = key(integer(1, 50_000_000), 1_000_000)
    """of one origin; a longer listing is cut there and said so"""


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: str = key(one_of("debug", "info", "warning", "error"), "info")
    format: str = key(one_of("console", "json"), "console")
    file: Path | None = key(path_reader(), None)  # noqa: RUF009
    rotate_mb: float = key(number(0.1, 10240), 10.0)
    keep: int = key(integer(1, 1000), 5)


@dataclass(frozen=True, slots=True)
class Config:
    """origins: near to far; a read goes to the first that has the object."""

    enabled: bool = True
    origins: tuple[OriginConfig, ...] = ()
    profiles: tuple[ProfileConfig, ...] = ()
    cache: CacheConfig = CacheConfig()  # noqa: RUF009
    ram: RamConfig = RamConfig()  # noqa: RUF009
    ssd: SsdConfig = SsdConfig()  # noqa: RUF009
    vram: VramConfig = VramConfig()  # noqa: RUF009
    fit: FitConfig = FitConfig()  # noqa: RUF009
    transfer: TransferConfig = TransferConfig()
    catalog: CatalogConfig = CatalogConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()  # noqa: RUF009
    access: AccessConfig = AccessConfig()  # noqa: RUF009
    alerts: AlertsConfig = AlertsConfig()  # noqa: RUF009
    cost: CostConfig = CostConfig()  # noqa: RUF009
    prefetch: PrefetchConfig = PrefetchConfig()  # noqa: RUF009
    boot: BootConfig = BootConfig()  # noqa: RUF009
    restore: RestoreConfig = RestoreConfig()  # noqa: RUF009
    publish: PublishConfig = PublishConfig()  # noqa: RUF009
    results: ResultsConfig = ResultsConfig()  # noqa: RUF009
    precision: tuple[PrecisionRule, ...] = ()
    tiering: TieringConfig = TieringConfig()  # noqa: RUF009
    path: Path | None = None
    """the file this was read from"""

    @classmethod
    def from_text(cls, toml: str, path: Path | None = None) -> Config:
        return _read_config(parse_toml(toml), path)

    @property
    def holds_secrets(self) -> bool:
        return bool(self.alerts.webhook) or any(p.holds_secrets for p in self.profiles)

    def origin(self, name: str) -> OriginConfig | None:
        return next((o for o in self.origins if o.name == name), None)

    def profile(self, name: str) -> ProfileConfig | None:
        return next((p for p in self.profiles if p.name == name), None)

    def listing_fingerprint(self) -> str:
        """Changes when a listing made under this configuration may no longer be shown (other bucket, other principal).

        Holds no secret: keys are identified by their public id.
        """
        rows = [
            [o.name, o.bucket, o.prefix, p.endpoint, p.region, p.access_key_id, p.aws_profile, p.signing == "anonymous"]
            for o in self.origins
            for p in (o.profile,)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def load_config(path: Path) -> Config:
    """Reads the file; an absent one is a ``Config`` with nothing in it.  Refuses a file with secrets that others can read."""
    try:
        raw = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Config(path=path)
    except OSError as error:
        raise ConfigError(
            f"{path.name} cannot be read", cause=error.strerror or "", next_step="check the file's owner and rights"
        ) from None
    try:
        config = Config.from_text(raw.decode("utf-8-sig"), path)
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8 text", next_step="save it as UTF-8") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) and config.holds_secrets:
        raise ConfigError(
            f"{path.name} holds a secret and other users may read it",
            cause=f"its mode is {stat.S_IMODE(mode):04o}",
            next_step=f"chmod 600 {path.name}",
        )
    return config


def profile_from(table: Any, name: str) -> ProfileConfig:
    """One [profiles.NAME] table, with everything the preset decides filled in."""
    where = f"profiles.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a profile's name is letters, digits, dot, dash and underscore, at most 64")
    profile: ProfileConfig = read_table(ProfileConfig, table, where, name=name)
    _refuse_half_keys(profile, where)
    preset = PRESETS.get(profile.preset) or (OTHER if profile.endpoint else PRESETS["aws"])
    region = profile.region or preset.region
    endpoint = profile.endpoint or preset.endpoint
    if "{region}" in endpoint and not region:
        raise ConfigError(f"{where}.region is missing", next_step=f'write region = "…": {preset.note}')
    if not endpoint and preset.name != "aws":
        raise ConfigError(f"{where}.endpoint is missing", next_step=f'write endpoint = "…": {preset.note}')
    if endpoint:
        endpoint = checked_endpoint(endpoint.replace("{region}", region), f"{where}.endpoint", allow_http=profile.allow_http)
    profile = replace(profile, preset=preset.name, endpoint=endpoint, region=region)
    checksums = "when_supported" if profile.is_aws else preset.checksums
    return replace(
        profile,
        addressing=preset.addressing if profile.addressing == "auto" else profile.addressing,
        request_checksums=checksums if profile.request_checksums == "auto" else profile.request_checksums,
        response_checksums=checksums if profile.response_checksums == "auto" else profile.response_checksums,
    )


def _refuse_half_keys(profile: ProfileConfig, where: str) -> None:
    if bool(profile.access_key_id) != bool(profile.secret_access_key):
        missing = "secret_access_key" if profile.access_key_id else "access_key_id"
        raise ConfigError(f"{where}.{missing} is missing", next_step="give both halves of the key, or none to use AWS's own chain")
    if profile.session_token and not profile.access_key_id:
        raise ConfigError(f"{where}.session_token needs access_key_id and secret_access_key")
    if profile.aws_profile and profile.access_key_id:
        raise ConfigError(f"{where} has both aws_profile and keys", next_step="keep one of them")
    if profile.signing == "anonymous" and (profile.access_key_id or profile.aws_profile):
        raise ConfigError(f'{where} has keys and signing = "anonymous"', next_step="keep one of them")


SECTIONS: dict[str, Any] = {
    "cache": CacheConfig,
    "ram": RamConfig,
    "ssd": SsdConfig,
    "vram": VramConfig,
    "fit": FitConfig,
    "transfer": TransferConfig,
    "catalog": CatalogConfig,
    "log": LogConfig,
    "metrics": MetricsConfig,
    "access": AccessConfig,
    "alerts": AlertsConfig,
    "cost": CostConfig,
    "prefetch": PrefetchConfig,
    "boot": BootConfig,
    "restore": RestoreConfig,
    "publish": PublishConfig,
    "results": ResultsConfig,
    "tiering": TieringConfig,
}
KNOWN = ("enabled", "profiles", "origins", "precision", *SECTIONS)


def _read_config(data: dict[str, Any], path: Path | None) -> Config:
    refuse_unknown(data, KNOWN, "")
    profiles = {n: profile_from(t, n) for n, t in expect(data.get("profiles", {}), dict, "profiles").items()}
    listed = expect(data.get("origins", []), list, "origins")
    origins = tuple(origin_from(t, f"origins[{i}]", profiles) for i, t in enumerate(listed))
    names = [o.name for o in origins]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two origins are called {name}", next_step='give one of them its own name = "…"')
    if origins and origins[-1].mirror:
        step = "origins are ordered near to far: put it before the origins whose objects it is to copy"
        raise ConfigError(f"origins[{len(origins) - 1}].mirror: no origin is farther away", next_step=step)
    read: dict[str, Any] = {name: read_table(cls, data.get(name, {}), name) for name, cls in SECTIONS.items()}
    enabled = expect(data.get("enabled", True), bool, "enabled")
    for section in ("publish", "results"):
        if read[section].origin not in ("", *names):
            raise ConfigError(f"{section}.origin names no origin", next_step=f"known origins: {', '.join(names) or 'none'}")
    precision = tables(PrecisionRule)(data.get("precision", []), "precision")
    return Config(enabled=enabled, origins=origins, profiles=tuple(profiles.values()), path=path, precision=precision, **read)


@dataclass(frozen=True, slots=True)
class _OriginTable:
    bucket: str = key(text(empty=False))
    name: str = key(text(empty=False, most=64), "")
    prefix: str = key(text(most=1024), "")
    profile: str = key(text(empty=False), "")
    allow_pickles: tuple[str, ...] = key(texts(), ())
    folders: tuple[FolderRule, ...] = key(lambda value, where: _folder_rules(value, where), ())
    mirror: bool = key(boolean(), False)
    mirror_budget_gb: float = key(number(0.001, 1e9), 0.0)
    """GiB; absent: no limit of ours"""


def origin_from(table: Any, where: str, profiles: dict[str, ProfileConfig]) -> OriginConfig:
    read: _OriginTable = read_table(_OriginTable, table, where)
    name = read.name or read.bucket
    if not _BUCKET.fullmatch(read.bucket) or ".." in read.bucket:
        raise ConfigError(f"{where}.bucket is not a bucket name", next_step="letters, digits, dot, dash; no path: use prefix for that")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}.name must be letters, digits, dot, dash and underscore, at most 64")
    profile = _profile_of(read.profile, where, profiles)
    if profile.addressing == "virtual" and profile.is_aws and "." in read.bucket:
        # The wildcard certificate *.s3.REGION.amazonaws.com does not cover a bucket with dots.
        profile = replace(profile, addressing="path")
    allowed = tuple(_as_prefix(p, f"{where}.allow_pickles") for p in read.allow_pickles)
    if read.mirror_budget_gb and not read.mirror:
        raise ConfigError(f"{where}.mirror_budget_gb needs mirror = true", next_step="add it, or take the budget out")
    budget = int(read.mirror_budget_gb * GIB) or None
    return OriginConfig(name, read.bucket, profile, _as_prefix(read.prefix, f"{where}.prefix"), allowed, read.folders, read.mirror, budget)


def _profile_of(name: str, where: str, profiles: dict[str, ProfileConfig]) -> ProfileConfig:
    if not name and len(profiles) == 1:
        return next(iter(profiles.values()))
    if not name and not profiles:
        return profile_from({"preset": "aws"}, "aws")
    if name not in profiles:
        said = f'names the profile "{name}", which does not exist' if name else "does not say which profile"
        known = ", ".join(sorted(profiles)) or "none; add [profiles.NAME]"
        raise ConfigError(f"{where} {said}", next_step=f"known profiles: {known}")
    return profiles[name]


def _folder_rules(value: Any, where: str) -> tuple[FolderRule, ...]:
    """Longest prefix first, so that the first match is the closest one."""
    folder = text(empty=False, most=128)
    rules = [FolderRule(_as_prefix(p, where), folder(f, f'{where}."{p}"')) for p, f in expect(value, dict, where).items()]
    return tuple(sorted(rules, key=lambda rule: (-len(rule.prefix), rule.prefix)))


def _as_prefix(value: str, where: str) -> str:
    """Empty, or a key prefix that ends with "/": a prefix is a directory, "lora" never means "loras/" too."""
    if value in ("", "/"):
        return ""
    if value.startswith("/") or "//" in value or any(s in (".", "..") for s in value.split("/")):
        raise ConfigError(f"{where} must be a directory inside the bucket, like models/sdxl/")
    return value if value.endswith("/") else value + "/"


def parse_toml(toml: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[import-not-found, no-redef]
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        # "… (at line 3, column 7)"; tomllib never repeats the line itself, which may hold a secret.
        raise ConfigError("the configuration is not valid TOML", cause=str(error), next_step="correct the line it names") from None
