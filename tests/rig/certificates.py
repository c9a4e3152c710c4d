"""A certificate authority of our own, made by ``openssl`` for one test run.  Nothing trusts it unless told to."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """ca_bundle: what a client has to trust"""

    folder: Path
    ca_bundle: Path

    def server_context(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """For a server that is called ``name`` (an address or a host name)."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        kind = "IP" if name.replace(".", "").isdigit() else "DNS"
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={kind}:{name}\nextendedKeyUsage=serverAuth\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signing = ["-CA", self.ca_bundle, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "2"]
        _openssl("x509", "-req", "-in", request, *signing, "-extfile", extension, "-out", certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


def make_authority(folder: Path) -> Authority:
    bundle = folder / "ca.pem"
    extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Model Stream test CA"),
        *extensions,
        *("-keyout", folder / "ca.key", "-out", bundle),
    )
    return Authority(folder, bundle)


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
