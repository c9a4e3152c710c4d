"""The only module that reads environment variables.

Credentials are not read here: botocore's own chain does that, and only for a profile that names none.
Every function takes the mapping to read, so that nothing has to be patched in a test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CONFIG_PATH = "MODELSTREAM_CONFIG"
"""path of the configuration file, instead of the one in ComfyUI's user directory"""
ADMIN_TOKEN = "MODELSTREAM_ADMIN_TOKEN"
"""what a caller has to know to change something when ComfyUI listens on more than loopback; at least 32 characters"""

_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")


def config_path(default: Path, environ: Mapping[str, str] | None = None) -> Path:
    """The configuration file to read: the override, else ``default``."""
    override = _read(CONFIG_PATH, environ)
    return Path(override).expanduser() if override else default


def admin_token(environ: Mapping[str, str] | None = None) -> str:
    """The owner's token for changing things over the network; empty where there is none."""
    return _read(ADMIN_TOKEN, environ)


def aws_region(environ: Mapping[str, str] | None = None) -> str:
    """The region that AWS's own tools would take from the environment; empty where there is none."""
    return next((value for name in _REGION if (value := _read(name, environ))), "")


def proxy_for(host: str, *, tls: bool, environ: Mapping[str, str] | None = None) -> str:
    """The forward proxy for ``host`` as the environment says it; empty for a direct connection.

    As curl reads them: the lower-case names first, ``http_proxy`` only in lower case (the upper-case one can be
    set by a CGI request), ``no_proxy`` a list of host suffixes or ``*``.
    """
    excluded = _read("no_proxy", environ) or _read("NO_PROXY", environ)
    for entry in (e.strip().lstrip("*").lstrip(".").lower() for e in excluded.split(",") if e.strip()):
        if entry == "" or host.lower() == entry or host.lower().endswith("." + entry):
            return ""
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY") if tls else ("http_proxy", "all_proxy", "ALL_PROXY")
    return next((value for name in names if (value := _read(name, environ))), "")


def _read(name: str, environ: Mapping[str, str] | None) -> str:
    return (os.environ if environ is None else environ).get(name, "").strip()
