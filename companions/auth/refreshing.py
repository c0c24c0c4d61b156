"""Refresh tokens: opaque, stored as digests, good for one use. Pure.

A log-in opens a *family*; each use of a token spends it and makes the next of the family. A spent token that shows up
again was copied by somebody: nobody can say who is the owner, so the whole family ends (RFC 9700 §4.14).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum


class RefreshVerdict(Enum):
    """What becomes of a presented refresh token (log word = value)."""

    ROTATE = "rotate"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REUSED = "reused"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class RefreshRecord:
    """One issued token as the database knows it. Instants in seconds since the epoch."""

    digest: str
    family_id: str
    account_id: str
    expires_at: float
    spent_at: float | None
    family_ended_at: float | None


def token_digest(token: str) -> str:
    """What is stored instead of the token; the token itself has 256 bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def judge(record: RefreshRecord | None, now: float) -> RefreshVerdict:
    """REUSED asks the caller to end the family; only ROTATE gives new tokens."""
    if record is None:
        return RefreshVerdict.UNKNOWN
    if record.family_ended_at is not None:
        return RefreshVerdict.REVOKED
    if record.spent_at is not None:
        return RefreshVerdict.REUSED
    if now >= record.expires_at:
        return RefreshVerdict.EXPIRED
    return RefreshVerdict.ROTATE
