"""How an appliance or a service gets its certificate.

An enrolment code is `SECRET.FINGERPRINT`: a one-time secret (26 base32 characters) and the first 32 hex digits of the
SHA-256 of the CA certificate (DER). The newcomer fetches the CA from `GET /v1/ca` without trusting the answer, compares
the fingerprint, and from then on verifies TLS against that CA; then it sends its CSR with the secret.
"""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

FINGERPRINT_CHARS = 32


class PeerKind(Enum):
    """Who stands behind a client certificate. The SAN URI is `lowtide://KIND/NAME`."""

    APPLIANCE = "appliance"
    SERVICE = "service"


class CaAnswer(msgspec.Struct, frozen=True):
    ca_pem: str


class EnrolRequest(msgspec.Struct, frozen=True):
    """`addresses` are host names and IP addresses that other parties will dial (subject alternative names)."""

    secret: str
    csr_pem: str
    addresses: tuple[str, ...] = ()


class EnrolAnswer(msgspec.Struct, frozen=True):
    kind: PeerKind
    name: str
    certificate_pem: str
    ca_pem: str


class CodeRequest(msgspec.Struct, frozen=True):
    """Operator: make a code for one newcomer."""

    kind: PeerKind
    name: str
    valid_s: float = 3600.0


class CodeAnswer(msgspec.Struct, frozen=True):
    code: str
    expires_at: float


def san_uri(kind: PeerKind, name: str) -> str:
    return f"lowtide://{kind.value}/{name}"


def fingerprint(ca_der: bytes) -> str:
    return hashlib.sha256(ca_der).hexdigest()[:FINGERPRINT_CHARS]


def split_code(code: str) -> tuple[str, str]:
    """(secret, CA fingerprint). Raises ValueError when the code has another form."""
    secret, dot, print_ = code.strip().partition(".")
    if not dot or not secret or len(print_) != FINGERPRINT_CHARS:
        raise ValueError("an enrolment code looks like SECRET.FINGERPRINT; copy it whole")
    return secret, print_
