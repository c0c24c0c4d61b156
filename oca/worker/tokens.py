"""Media tokens (DESIGN §3.4): verified once, remembered in a bounded table that still checks expiry, scope and revocation.

Keys come from `keys.json` in the state folder, written by the keeper; a file that is missing or unreadable leaves the keys at hand. Beside
it lies `contact.json`: when the control plane last answered. What `OfflineRule` does not let in is never remembered, and what is remembered is
forgotten when the rule's answer changes, so that a remembered token costs no further question.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import msgspec

from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from oca.link.files import Contact
from oca.worker.offline import OfflineRule

CONTACT_FILE = "contact.json"
MAX_REMEMBERED = 20_000
Verify = Callable[[str, dict[str, PublicKey]], MediaClaims]


class Tokens:
    """`verify` is `contracts.tokens.media.verify`; `counted(remembered)` is told of each token that passed its signature."""

    def __init__(
        self,
        path: str,
        verify: Verify,
        counted: Callable[[bool], None],
        limit: int = MAX_REMEMBERED,
        offline: OfflineRule | None = None,
    ) -> None:
        self._path = path
        self._contact_path = os.path.join(os.path.dirname(path), CONTACT_FILE)
        self._offline = offline or OfflineRule()
        self._newest = math.inf
        self._verify = verify
        self._counted = counted
        self._limit = limit
        self._stamp: tuple[int, int] | None = None
        self._keys_at: float | None = None
        self._set = KeySet(0, ())
        self._keys: dict[str, PublicKey] = {}
        self.control_plane_keys: dict[str, PublicKey] = {}
        """Live keys that sign digest lists and fill credentials; another mapping when they change."""
        self._revoked: frozenset[str] = frozenset()
        self._known: dict[str, MediaClaims] = {}

    @property
    def number(self) -> int:
        """The key set's number; 0 before the first."""
        return self._set.number

    def check(self, token: str | None, path: str, now: float) -> MediaClaims:
        """The claims of a token that opens `path` (token removed) at `now`. Raises TokenRefused."""
        if token is None:
            raise TokenRefused(TokenRefusal.MISSING, "the address carries no media token")
        claims = self._known.get(token)
        remembered = claims is not None
        if claims is None:
            claims = self._verify(token, self._keys)
            if claims.issued_at > self._newest:
                claims.check(path, now, self._revoked)
                raise TokenRefused(TokenRefusal.OFFLINE, self._offline.sentence(self._newest))
            if len(self._known) >= self._limit:
                del self._known[next(iter(self._known))]
            self._known[token] = claims
        self._counted(remembered)
        claims.check(path, now, self._revoked)
        return claims

    def remembered(self, token: bytes) -> MediaClaims | None:
        """The claims of a token that was verified before; nothing else about it is checked."""
        return self._known.get(token.decode("latin-1"))

    def is_revoked(self, session: str) -> bool:
        return session in self._revoked

    def poll(self, now: float) -> str:
        """Load the files when they have changed and drop keys that have ended. Sentences for the log, or empty."""
        sentence = self._load()
        live = self._set.live(KeyUse.MEDIA, now)
        if live.keys() != self._keys.keys() or sentence:
            self._keys = live
            self._known.clear()  # what an ended key has signed opens nothing any more
        signing = self._set.live(KeyUse.DIGESTS, now)
        if signing != self.control_plane_keys:
            self.control_plane_keys = signing
        contact_at = self._contact_at()
        newest = math.inf if contact_at is None else self._offline.newest_taken(contact_at, now)
        if newest != self._newest:
            self._newest = newest
            self._known.clear()
            sentence = "; ".join(filter(None, (sentence, self._offline.sentence(newest))))
        return sentence

    def _contact_at(self) -> float | None:
        """When the control plane was last there: it answered, or these keys came from it. None before the first keys."""
        if self._keys_at is None:
            return None
        try:
            with open(self._contact_path, "rb") as file:
                return max(self._keys_at, msgspec.json.decode(file.read(), type=Contact).at)
        except (OSError, msgspec.MsgspecError):
            return self._keys_at

    def _load(self) -> str:
        try:
            facts = os.stat(self._path)
            stamp = (facts.st_mtime_ns, facts.st_ino)
            if stamp == self._stamp:
                return ""
            with open(self._path, "rb") as file:
                found = msgspec.json.decode(file.read(), type=KeySet)
        except FileNotFoundError:
            return ""
        except (OSError, msgspec.MsgspecError) as error:
            return f"{self._path} cannot be read, the keys at hand stay: {error}" if self._failed_anew() else ""
        self._stamp = stamp
        self._keys_at = facts.st_mtime
        self._set = found
        self._revoked = frozenset(found.revoked_sessions)
        return f"key set {found.number}: {len(found.of(KeyUse.MEDIA))} media keys"

    def _failed_anew(self) -> bool:
        """Say it once, not every second."""
        anew = self._stamp != (0, 0)
        self._stamp = (0, 0)
        return anew
