"""Fill credentials of peers (`contracts.tokens.fills`): verified once, remembered in a bounded table that still checks scope and expiry.

Laws
- A peer that shows a credential gets what it names, and nothing else, whoever it is.
- One that shows none gets what its players miss, unless `serving.peer_misses` is off.
- A credential is never logged, and goes to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contracts.keys import PublicKey
from contracts.tokens.claims import TokenRefusal, TokenRefused
from contracts.tokens.fills import FillClaims, verify

HEADER = b"lowtide-fill"
MAX_REMEMBERED = 4096


class FillCredentials:
    """`keys` gives the control plane's keys at hand, a new mapping when they have changed."""

    def __init__(self, keys: Callable[[], Mapping[str, PublicKey]], *, peer_misses: bool) -> None:
        self._keys = keys
        self._peer_misses = peer_misses
        self._known: dict[str, FillClaims] = {}
        self._known_by: Mapping[str, PublicKey] = {}

    def check(self, credential: bytes | None, appliance: str, key: str, now: float) -> None:
        """Whether the peer may have the file. Raises TokenRefused."""
        if credential is None:
            if not self._peer_misses:
                raise TokenRefused(TokenRefusal.MISSING, "the request carries no fill credential")
            return
        self._claims(credential.decode("latin-1")).check(appliance, key, now)

    def _claims(self, credential: str) -> FillClaims:
        keys = self._keys()
        if keys is not self._known_by:
            self._known, self._known_by = {}, keys
        claims = self._known.get(credential)
        if claims is None:
            claims = verify(credential, keys)
            if len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[credential] = claims
        return claims
