"""The peers' side: mutual TLS with the box's own certificate, and who the other side is.

The keeper enrols and writes `tls/{key,cert,ca}.pem`; until they can be loaded nobody is let in. A peer is an appliance: its
certificate, signed by the control plane's CA, carries the SAN URI `lowtide://appliance/ID`.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from contracts.enrolment import PeerKind, san_uri

_PREFIX = san_uri(PeerKind.APPLIANCE, "")


class PeerTls:
    """Loads and reloads the context. `own_id` is the appliance's id, empty before enrolment."""

    def __init__(self, state_dir: str) -> None:
        self._paths = [os.path.join(state_dir, "tls", name) for name in ("cert.pem", "key.pem", "ca.pem")]
        self._stamp: tuple[int, ...] | None = None
        self.context: ssl.SSLContext | None = None
        self.own_id = ""

    def poll(self) -> str:
        """Load what has changed, once. A sentence for the log, or empty. What was loaded before stays when the new cannot be."""
        try:
            stamp = tuple(os.stat(path).st_mtime_ns for path in self._paths)
        except OSError:
            return ""  # not enrolled yet, or in the middle of it
        if stamp == self._stamp:
            return ""
        self._stamp = stamp
        try:
            context, own_id = _load(*self._paths)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            return f"the certificate in tls/ cannot be loaded, tried again when it changes: {error}"
        self.context, self.own_id = context, own_id
        return f"peers are let in as appliance {own_id}"


def _load(cert: str, key: str, ca: str) -> tuple[ssl.SSLContext, str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.set_alpn_protocols(["http/1.1"])
    return context, _own_id(cert)


def _own_id(cert: str) -> str:
    # Only here: the library costs tens of milliseconds that a box without a certificate need not pay.
    from cryptography import x509

    with open(cert, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.startswith(_PREFIX):
            return uri.removeprefix(_PREFIX)
    raise ValueError(f"{cert} names no appliance")


def appliance_of(certificate: Any) -> str | None:
    """The appliance id in a peer's certificate (as `ssl.SSLSocket.getpeercert()` gives it), or None."""
    if not isinstance(certificate, dict):
        return None
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "URI" and value.startswith(_PREFIX):
            return str(value.removeprefix(_PREFIX)) or None
    return None


def has_passed(cdn_loop: bytes | None, own_id: str) -> bool:
    """True when a `CDN-Loop` (RFC 8586) names this appliance: `lowtide;appliance=ID`."""
    if not cdn_loop or not own_id:
        return False
    wanted = own_id.encode()
    for entry in cdn_loop.split(b","):
        name, *parameters = (part.strip() for part in entry.split(b";"))
        if name.lower() != b"lowtide":
            continue
        for parameter in parameters:
            key, _equals, value = parameter.partition(b"=")
            if key.strip().lower() == b"appliance" and value.strip().strip(b'"') == wanted:
                return True
    return False
