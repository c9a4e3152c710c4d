"""Which endpoints an owner may name.

The file is trusted, yet a slip in it must not turn the machine into somebody's proxy to its own metadata
service, and must not send credentials in the clear: so no userinfo, no fragment, no link-local or cloud
metadata address, and plain http only to this machine or when it is asked for.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigError

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata.goog", "metadata", "instance-data"})
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "fd00:ec2::254", "168.63.129.16", "192.0.0.192"})
"""AWS (IPv6), Alibaba, Azure's wire server, Oracle's classic one; AWS, GCP and Azure IPv4 are link-local"""


def checked_endpoint(text: str, where: str, *, allow_http: bool) -> str:
    """The endpoint in its one normal form: scheme, lower-case host, port unless the default, path without a final slash."""
    try:
        url = urlsplit(text.strip())
        port = url.port
    except ValueError:
        raise _refuse(where, "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise _refuse(where, "must be a URL that starts with https:// (or http://)")
    if any(c.isspace() or not c.isprintable() for c in url.netloc + url.path):
        raise _refuse(where, "holds blanks or control characters")
    if "@" in url.netloc:
        raise _refuse(where, "holds a user name or password", "use access_key_id and secret_access_key instead")
    if url.fragment or url.query or "#" in text or "?" in text:
        raise _refuse(where, "holds a query or a fragment")
    host = url.hostname.rstrip(".")
    if _is_metadata(host):
        raise _refuse(where, "is a link-local or cloud metadata address, never a bucket")
    if url.scheme == "http" and not allow_http and not is_loopback(host):
        raise _refuse(where, "is plain http to another machine", "use https, or write allow_http = true in this profile")
    return _normal(url, host, port)


def is_loopback(host: str) -> bool:
    """localhost, *.localhost, 127.0.0.0/8 or ::1."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _is_metadata(host: str) -> bool:
    if host in _METADATA_HOSTS:
        return True
    address = _address(host)
    return address is not None and (address.is_link_local or address.is_unspecified or str(address) in _METADATA_ADDRESSES)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also the odd spellings that resolvers accept (decimal, hexadecimal, short, IPv4 inside IPv6)."""
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _normal(url: SplitResult, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    if port and port != {"http": 80, "https": 443}[url.scheme]:
        shown = f"{shown}:{port}"
    return f"{url.scheme}://{shown}{url.path.rstrip('/')}"


def _refuse(where: str, why: str, next_step: str = "correct it in the configuration file") -> ConfigError:
    # The endpoint itself is not repeated: it may hold a password.
    return ConfigError(f"{where} {why}", next_step=next_step)
