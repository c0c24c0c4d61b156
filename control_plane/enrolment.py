"""Enrolment codes: one-time, expiring, kept only as a hash (contracts.enrolment says what a code looks like).

The secret has 128 random bits, so its SHA-256 needs no salt and no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from contracts.enrolment import PeerKind

SECRET_BYTES = 16
MAX_VALID_S = 30 * 86400.0
MAX_ADDRESSES = 32
_HOST_RE = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


class CodeRefusal(Enum):
    """Why a code opens nothing (log word = value). The newcomer is told only that it does not."""

    UNKNOWN = "code-unknown"
    USED = "code-used"
    EXPIRED = "code-expired"


@dataclass(frozen=True, slots=True)
class Code:
    """What is kept of a code."""

    hash: str
    kind: PeerKind
    name: str
    expires_at: float
    used_at: float | None = None


def secret_of(random: bytes) -> str:
    """The secret part of a code from SECRET_BYTES random bytes: 26 base32 characters."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a secret is made from {SECRET_BYTES} bytes")
    return base64.b32encode(random).decode().rstrip("=")


def hash_of(secret: str) -> str:
    """What is kept instead of the secret. Case and surrounding blanks do not matter: codes are typed by hand."""
    return hashlib.sha256(secret.strip().upper().encode()).hexdigest()


def refusal(code: Code | None, now: float) -> CodeRefusal | None:
    """Why the code opens nothing at `now`, or None when it does."""
    if code is None:
        return CodeRefusal.UNKNOWN
    if code.used_at is not None:
        return CodeRefusal.USED
    return CodeRefusal.EXPIRED if now >= code.expires_at else None


def wrong_addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """One line for each address that no certificate of ours may carry."""
    wrong = [f"{address!r} is neither an IP address nor a host name" for address in addresses if not _fits(address)]
    if len(addresses) > MAX_ADDRESSES:
        wrong.append(f"at most {MAX_ADDRESSES} addresses, not {len(addresses)}")
    return tuple(wrong)


def _fits(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return _HOST_RE.fullmatch(address.lower()) is not None
