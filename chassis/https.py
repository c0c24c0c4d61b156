"""A second door of a listener, for browsers: the same application by TLS, with a certificate that is loaded again when it changes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from chassis.tls import TlsFiles, server_context


@dataclass(frozen=True, slots=True)
class Https:
    """Settings of such a door."""

    host: Annotated[str, Doc("IP address to bind, without brackets; empty opens no such door")] = ""
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one")] = 0
    certificate: Annotated[Path | None, Doc("PEM file with the certificate and its chain; looked at every 10 s")] = None
    key: Annotated[Path | None, Doc("PEM file with its private key, not encrypted")] = None

    def __post_init__(self) -> None:
        if self.host and (self.certificate is None or self.key is None):
            raise ValueError("certificate, key: both are needed where https.host is set")


@dataclass(frozen=True, slots=True)
class Door:
    """An opened certificate, and where to listen with it."""

    host: str
    port: int
    context: ssl.SSLContext
    files: TlsFiles


def door_of(settings: Https) -> Door | None:
    """None where no such door is wanted. Raises CertificateError naming the file that cannot be used."""
    if not settings.host or settings.certificate is None or settings.key is None:
        return None
    files = TlsFiles(settings.certificate, settings.key)
    return Door(settings.host, settings.port, server_context(files), files)
