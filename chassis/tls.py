"""TLS contexts from PEM files: TLS ≥ 1.2, mutual where asked, certificates exchanged under a running listener."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import CertificateError
from chassis.logs import get_logger

WATCH_EVERY_S = 10.0


class ClientCertificate(Enum):
    """What a listener wants of those who dial."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: own chain and key, and the CA that the other side's certificate must come from."""

    certificate: Path
    key: Path
    ca: Path | None = None


def server_context(
    files: TlsFiles, client: ClientCertificate = ClientCertificate.NONE, alpn: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLContext:
    """For a listener. Raises CertificateError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(alpn))
    _load_chain(context, files)
    if client is not ClientCertificate.NONE:
        _load_ca(context, files.ca)
        required = client is ClientCertificate.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(
    ca: Path | None = None, files: TlsFiles | None = None, *, ca_pem: str | None = None
) -> ssl.SSLContext:
    """For dialling: verifies name and chain against `ca`, `ca_pem` or `files.ca` (the system's CAs when none is given) and
    shows `files`' certificate when asked for one. Raises CertificateError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    chosen = ca or (files.ca if files else None)
    if ca_pem is not None:
        _load_ca_pem(context, ca_pem)
    elif chosen is not None:
        _load_ca(context, chosen)
    else:
        context.load_default_certs()
    if files is not None:
        _load_chain(context, files)
    return context


class CertificateWatch:
    """Loads the chain again into a context whose files have changed. New connections get the new certificate.

    `service.background("certificate", CertificateWatch(context, files).run)` keeps a listener's certificate current.
    """

    def __init__(self, context: ssl.SSLContext, files: TlsFiles) -> None:
        self._context = context
        self._files = files
        self._seen = self._stamp()

    def check(self) -> bool:
        """True when a changed certificate was loaded. A half-written one raises CertificateError; the old one stays."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        ssl_probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_chain(ssl_probe, self._files)
        _load_chain(self._context, self._files)
        self._seen = stamp
        return True

    async def run(self, clock: Clock = SYSTEM_CLOCK, every_s: float = WATCH_EVERY_S) -> None:
        """Checks for ever. A certificate that cannot be used is logged; the one that is loaded stays."""
        while True:
            await clock.sleep(every_s)
            try:
                if self.check():
                    get_logger("chassis.tls").info("certificate-reloaded", file=str(self._files.certificate))
            except CertificateError as error:
                get_logger("chassis.tls").error("certificate-unusable", detail=str(error))

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [path.stat() for path in (self._files.certificate, self._files.key)]
        except OSError as error:
            raise CertificateError(f"{error.filename}: {error.strerror}") from error
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)


def _load_chain(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{files.certificate} with {files.key} cannot be used: {error}") from error


def _load_ca(context: ssl.SSLContext, ca: Path | None) -> None:
    if ca is None:
        raise CertificateError("client certificates can be verified only with a CA file; none is set")
    try:
        context.load_verify_locations(cafile=str(ca))
    except OSError as error:
        raise CertificateError(f"{ca} cannot be used as CA: {error}") from error


def _load_ca_pem(context: ssl.SSLContext, pem: str) -> None:
    try:
        context.load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:
        raise CertificateError(f"the given text cannot be used as CA: {error}") from error
