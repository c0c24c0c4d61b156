"""Signing requests of boxes, and chains that the CA gave for them. Pure.

A request names its box and nobody else: exactly one host name, as subject alternative name, and at most the same one as common name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from contracts.names import MOST_ADDRESSES, RequestRefusal

MOST_CHAIN_BYTES = 64 * 1024
AHEAD_S = 300.0
"""So far may the CA's clock be ahead."""
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


class RequestRefused(Exception):
    """A signing request that is not taken: why, and in words what to change."""

    def __init__(self, why: RequestRefusal, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class ChainUnusable(Exception):
    """The CA's answer is no certificate for the request; the message says how."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Seconds since the epoch."""

    begins_at: float
    expires_at: float


def check_request(csr_pem: str, host: str) -> None:
    """Raises RequestRefused unless the request is signed by its own EC P-256 key and names `host` and nothing else."""
    request = _request(csr_pem)
    names = _names(request)
    common = [str(entry.value).lower() for entry in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    foreign = sorted({*names, *common} - {host})
    if foreign:
        raise RequestRefused(
            RequestRefusal.FOREIGN_NAME, f"the signing request names {', '.join(foreign)}; this box is {host} only"
        )
    if not names:
        raise RequestRefused(
            RequestRefusal.NO_NAME, f"the signing request has no subject alternative name; it should name {host}"
        )


def check_addresses(addresses: Iterable[str]) -> None:
    """Raises RequestRefused unless they are IP addresses that a record can carry, not too many of them, at least one."""
    found = list(addresses)
    wrong = [text for text in found if not _is_dialled(text)]
    if wrong:
        raise RequestRefused(RequestRefusal.ADDRESS, f"no IP address that players could dial: {', '.join(wrong)}")
    if not 0 < len(found) <= MOST_ADDRESSES:
        raise RequestRefused(
            RequestRefusal.ADDRESS, f"a name has 1 to {MOST_ADDRESSES} addresses; these are {len(found)}"
        )


def check_chain(chain_pem: str, csr_pem: str, host: str, now: float) -> Validity:
    """How long the leaf is valid. Raises ChainUnusable unless it is for the request's key and host, and valid at `now`."""
    if len(chain_pem) > MOST_CHAIN_BYTES:
        raise ChainUnusable(f"the chain has {len(chain_pem)} characters, more than {MOST_CHAIN_BYTES}")
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem.encode())[0]
    except (ValueError, IndexError) as error:
        raise ChainUnusable(f"the CA's answer holds no certificate: {error}") from error
    if _spki(leaf) != _spki(_request(csr_pem)):
        raise ChainUnusable("the certificate is for another key than the one it was ordered for")
    if host not in _dns_names(leaf.extensions):
        raise ChainUnusable(f"the certificate does not name {host}")
    begins_at, expires_at = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if now >= expires_at:
        raise ChainUnusable("the certificate has expired already: compare the clocks of this machine and of the CA")
    if now < begins_at - AHEAD_S:
        raise ChainUnusable("the certificate is not valid yet: compare the clocks of this machine and of the CA")
    return Validity(begins_at, expires_at)


def _request(csr_pem: str) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        signed, key = request.is_signature_valid, request.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise RequestRefused(RequestRefusal.NOT_A_REQUEST, f"no signing request in PEM form: {error}") from error
    if not signed:
        raise RequestRefused(RequestRefusal.UNSIGNED, "the signing request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestRefused(RequestRefusal.KEY, "the signing request is not for an EC key on P-256")
    return request


def _names(request: x509.CertificateSigningRequest) -> list[str]:
    """Its host names in lower case. Raises RequestRefused when it asks for anything else."""
    try:
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except _UNREADABLE as error:
        raise RequestRefused(RequestRefusal.NOT_A_REQUEST, f"the signing request is malformed: {error}") from error
    others = [str(name.value) for name in asked if not isinstance(name, x509.DNSName)]
    if others:
        raise RequestRefused(
            RequestRefusal.OTHER_IDENTITY, f"the signing request asks for more than host names: {', '.join(others)}"
        )
    return [name.lower() for name in asked.get_values_for_type(x509.DNSName)]


def _dns_names(extensions: x509.Extensions) -> list[str]:
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return []
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]


def _spki(of: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_dialled(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    scoped = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    return not (address.is_unspecified or address.is_multicast or scoped)
