"""Public keys as they are published: by `kid`, with their use. Private keys never cross a process border."""

from __future__ import annotations

from enum import Enum

import msgspec


class KeyUse(Enum):
    MEDIA = "media"
    """Verifies tokens in media URLs; the private part stays in the playback service."""
    DIGESTS = "digests"
    """Verifies block digest lists; the private part stays in the control plane."""
    MEMBER = "member"
    """Verifies members' access tokens; the private part stays in the auth service."""


REVOKED_FOR_S = 7 * 86_400.0
"""Longer than any session lives: behind it the tokens of a revoked session have expired by themselves."""
MAX_REVOKED = 10_000
"""Revoked sessions at a time: every appliance holds the whole list."""


class RevocationRequest(msgspec.Struct, frozen=True):
    """Operator: the tokens of this session open nothing any more."""

    session: str
    valid_s: float = REVOKED_FOR_S
    """Until it is forgotten; the session's tokens should have expired by then."""
    reason: str = ""


class Revocation(msgspec.Struct, frozen=True):
    """A revoked session; instants in seconds since the epoch."""

    session: str
    revoked_at: float
    expires_at: float
    reason: str = ""


class RevocationList(msgspec.Struct, frozen=True):
    revocations: tuple[Revocation, ...]


class PublicKey(msgspec.Struct, frozen=True):
    """A JWK (RFC 7517) of an EC P-256 or Ed25519 public key as a JSON object in text form."""

    kid: str
    use: KeyUse
    alg: str
    jwk: dict[str, str]
    not_after: float | None = None


class KeyEnding(msgspec.Struct, frozen=True):
    """Operator: nothing that the key has signed is taken any more from so many seconds on."""

    in_s: float = 0.0


class KeySet(msgspec.Struct, frozen=True):
    """All public keys somebody needs, with a number that grows with every change."""

    number: int
    keys: tuple[PublicKey, ...]
    revoked_sessions: tuple[str, ...] = ()

    def of(self, use: KeyUse) -> dict[str, PublicKey]:
        return {key.kid: key for key in self.keys if key.use is use}

    def live(self, use: KeyUse, now: float) -> dict[str, PublicKey]:
        """Those that have not ended at `now`."""
        return {kid: key for kid, key in self.of(use).items() if key.not_after is None or now <= key.not_after}
