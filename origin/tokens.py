"""Players' tokens at the origin: verified with public keys that the control plane hands out and a file keeps.

The keys last fetched stay in use while the control plane is away, also over a restart. Tokens once verified are remembered
in a bounded table; expiry, scope and revocation are checked every time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from contracts.tokens.media import verify

REMEMBERED = 4096
ASK_AGAIN_S = 1.0


class MediaKeys:
    """The key set of this process. `file` keeps it over a restart."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ask: Callable[[], Awaitable[None]] | None = None
        """Fetches a newer set when somebody shows a key that is not known here; set once there is somebody to ask."""
        self.generation = 0
        """Grows whenever another set is taken; the control plane's own number begins anew when its record does."""
        self._set: KeySet | None = None
        self.media: dict[str, PublicKey] = {}
        self.revoked: frozenset[str] = frozenset()
        self._load()

    def take(self, keys: KeySet) -> bool:
        """Uses this set from now on; True when it is another one than before."""
        if keys == self._set:
            return False
        self._use(keys)
        unfinished = self._file.with_name(f"{self._file.name}.new")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(msgspec.json.encode(keys))
        unfinished.replace(self._file)
        return True

    def live(self, now: float) -> dict[str, PublicKey]:
        """Media keys that have not ended; the generation grows when one ends."""
        ended = [kid for kid, key in self.media.items() if key.not_after is not None and now > key.not_after]
        if ended:
            self.media = {kid: key for kid, key in self.media.items() if kid not in ended}
            self.generation += 1
        return self.media

    def _use(self, keys: KeySet) -> None:
        self._set = keys
        self.generation += 1
        self.media = keys.of(KeyUse.MEDIA)
        self.revoked = frozenset(keys.revoked_sessions)

    def _load(self) -> None:
        try:
            self._use(msgspec.json.decode(self._file.read_bytes(), type=KeySet))
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            get_logger("origin.tokens").warning("kept-keys-unreadable", file=str(self._file), detail=str(error))


class PlayerTokens:
    """Checks players' tokens."""

    def __init__(self, keys: MediaKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._asked_s = float("-inf")
        self._verified: OrderedDict[str, tuple[int, MediaClaims]] = OrderedDict()

    async def check(self, token: str, path: str) -> str:
        """The token's session. Raises TokenRefused."""
        try:
            claims = self._claims(token)
        except TokenRefused as error:
            if error.why is not TokenRefusal.KEY_UNKNOWN or not await self._newer_keys():
                raise
            claims = self._claims(token)
        claims.check(path, self._clock.wall_s(), self._keys.revoked)
        return claims.session

    async def _newer_keys(self) -> bool:
        """True when a newer set came. Asked at most once per second, so that forged tokens cannot make us flood others."""
        now_s = self._clock.monotonic_s()
        if self._keys.ask is None or now_s - self._asked_s < ASK_AGAIN_S:
            return False
        self._asked_s = now_s
        before = self._keys.generation
        await self._keys.ask()
        return self._keys.generation != before

    def _claims(self, token: str) -> MediaClaims:
        """Verified under the present key set: a key that was taken away, or has ended, verifies nothing any more."""
        keys = self._keys.live(self._clock.wall_s())
        known = self._verified.get(token)
        if known is not None and known[0] == self._keys.generation:
            self._verified.move_to_end(token)
            return known[1]
        claims = verify(token, keys)
        self._verified[token] = (self._keys.generation, claims)
        while len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return claims
