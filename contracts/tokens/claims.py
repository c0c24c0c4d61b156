"""What a media token says, apart from how it is written (`jwt`, `cat`), and why one opens nothing.

Law: a token is taken only when everything in it that restricts is enforced here. What restricts and is not enforced (a client
network, a region, one-time use, a renewal) refuses the token; it is never ignored.
"""

from __future__ import annotations

import math
import re
from enum import Enum

import msgspec

from contracts.urls import MEDIA_SERVICE, is_name

CLOCK_SKEW_S = 30.0
AUDIENCE = MEDIA_SERVICE
"""What an `aud` claim, where there is one, has to name: the delivery service."""
LATEST_S = 253_402_300_800.0
"""The end of the year 9999: instants behind it, infinities among them, are mistakes."""
MAX_SESSION_CHARS = 256
MAX_TOKEN_CHARS = 2048
_PREFIX_RE = re.compile(r"/(?:[A-Za-z0-9_.-]+/)+")


class TokenRefusal(Enum):
    """Why a media token opens nothing: (log word, problem code)."""

    MISSING = ("token-missing", "media-token-missing")
    MALFORMED = ("token-malformed", "media-token-invalid")
    ALGORITHM = ("token-algorithm", "media-token-invalid")
    """`none`, a shared secret, another key's algorithm, or a token that brings its own key."""
    SIGNATURE = ("token-signature", "media-token-invalid")
    KEY_UNKNOWN = ("token-key-unknown", "key-unknown")
    UNENFORCED = ("token-unenforced", "media-token-unenforced")
    """It restricts something that is not enforced here."""
    EXPIRED = ("token-expired", "media-token-expired")
    NOT_YET = ("token-not-yet", "media-token-not-yet")
    SCOPE = ("token-scope", "media-token-scope")
    REVOKED = ("token-revoked", "media-token-revoked")
    OFFLINE = ("token-offline", "media-token-offline")
    """The appliance has been without its control plane for too long to take this one."""

    def __init__(self, word: str, problem: str) -> None:
        self.word = word
        self.problem = problem


class TokenRefused(Exception):
    """The one error that leaves token code."""

    def __init__(self, why: TokenRefusal, detail: str = "") -> None:
        super().__init__(detail or why.word)
        self.why = why


class MediaClaims(msgspec.Struct, frozen=True):
    """One session's right to fetch the files of one title in some tiers until a moment.

    `prefix` ends in a slash: `/media/TITLE/`. Instants in seconds since the epoch.
    """

    issuer: str
    session: str
    prefix: str
    tiers: tuple[str, ...]
    expires_at: float
    issued_at: float
    not_before: float | None = None

    @property
    def began_at(self) -> float:
        """When the session began: `not_before` stays from renewal to renewal, `issued_at` does not."""
        return self.issued_at if self.not_before is None else self.not_before

    def check(self, path: str, now: float, revoked: frozenset[str] = frozenset()) -> None:
        """Raises TokenRefused unless `path` (token removed) may be fetched at `now`."""
        if now > self.expires_at + CLOCK_SKEW_S:
            raise TokenRefused(TokenRefusal.EXPIRED, "the media token has expired")
        if self.not_before is not None and now < self.not_before - CLOCK_SKEW_S:
            raise TokenRefused(TokenRefusal.NOT_YET, "the media token is not valid yet")
        if self.session in revoked:
            raise TokenRefused(TokenRefusal.REVOKED, "the session was revoked")
        if not self.covers(path):
            raise TokenRefused(TokenRefusal.SCOPE, f"the token covers {self.prefix} in {', '.join(self.tiers)}")

    @classmethod
    def checked(
        cls,
        *,
        issuer: str,
        session: str,
        scope: tuple[str, tuple[str, ...]],
        expires_at: float,
        issued_at: float,
        not_before: float | None,
    ) -> MediaClaims:
        """The claims; `scope` is prefix and tiers. Raises TokenRefused (MALFORMED) for values that cannot be meant."""
        prefix, tiers = scope
        times = (expires_at, issued_at, 0.0 if not_before is None else not_before)
        if not all(math.isfinite(at) and 0.0 <= at < LATEST_S for at in times):
            raise TokenRefused(TokenRefusal.MALFORMED, "the media token's times are no instants")
        if not 0 < len(session) <= MAX_SESSION_CHARS:
            raise TokenRefused(TokenRefusal.MALFORMED, "the media token names no session")
        if _PREFIX_RE.fullmatch(prefix) is None or not tiers or not all(is_name(tier) for tier in tiers):
            raise TokenRefused(TokenRefusal.MALFORMED, "the media token's scope is no prefix with tiers")
        since = None if not_before is None else float(not_before)
        return cls(issuer, session, prefix, tiers, float(expires_at), float(issued_at), since)

    def covers(self, path: str) -> bool:
        if not path.startswith(self.prefix):
            return False
        tier, slash, file = path[len(self.prefix) :].partition("/")
        return bool(slash) and tier in self.tiers and is_name(file)


def check_length(token: str) -> None:
    """Raises TokenRefused for what is longer than any token of ours, before anything is read."""
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is too long")


def check_audience(aud: str | tuple[str, ...] | None) -> None:
    """RFC 7519 §4.1.3: who finds himself not among the audience must refuse. Raises TokenRefused."""
    if aud is not None and AUDIENCE not in ((aud,) if isinstance(aud, str) else aud):
        raise TokenRefused(TokenRefusal.SCOPE, f"the media token is for another audience than {AUDIENCE}")


def uri_container(prefix: str, tiers: tuple[str, ...]) -> str:
    """RFC 9246 §2.1.15 `cdniuc`: a POSIX regular expression over the whole URI without its token."""
    return f"regex:[^/]+//[^/]+{tiers_pattern(prefix, tiers)}/[^/?]+"


def tiers_pattern(prefix: str, tiers: tuple[str, ...]) -> str:
    """Prefix and tiers as a regular expression of any dialect: of what names are made of, only the dot has a meaning there."""
    return f"{prefix}({'|'.join(tiers)})".replace(".", r"\.")


def parse_uri_container(text: str) -> tuple[str, tuple[str, ...]]:
    """The inverse of `uri_container`. Raises TokenRefused for any other shape."""
    match = re.fullmatch(r"regex:\[\^/\]\+//\[\^/\]\+(/(?:[A-Za-z0-9_./-]|\\[.\-])+/)\(([^()]+)\)/\[\^/\?\]\+", text)
    if match is None:
        raise TokenRefused(TokenRefusal.MALFORMED, "cdniuc is not of the form this service signs")
    prefix = match[1].replace("\\", "")
    tiers = tuple(part.replace("\\", "") for part in match[2].split("|"))
    return prefix, tiers
