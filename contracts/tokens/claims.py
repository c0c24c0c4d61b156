"""What a media token says, apart from how it is written (jwt today; cat stands beside it)."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from contracts.urls import is_name

CLOCK_SKEW_S = 30.0


class TokenRefusal(Enum):
    """Why a media token opens nothing: (log word, problem code)."""

    MISSING = ("token-missing", "media-token-missing")
    MALFORMED = ("token-malformed", "media-token-invalid")
    ALGORITHM = ("token-algorithm", "media-token-invalid")
    SIGNATURE = ("token-signature", "media-token-invalid")
    KEY_UNKNOWN = ("token-key-unknown", "key-unknown")
    EXPIRED = ("token-expired", "media-token-expired")
    NOT_YET = ("token-not-yet", "media-token-not-yet")
    SCOPE = ("token-scope", "media-token-scope")
    REVOKED = ("token-revoked", "media-token-revoked")

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

    def covers(self, path: str) -> bool:
        if not path.startswith(self.prefix):
            return False
        tier, slash, file = path[len(self.prefix) :].partition("/")
        return bool(slash) and tier in self.tiers and is_name(file)


def uri_container(prefix: str, tiers: tuple[str, ...]) -> str:
    """RFC 9246 §2.1.15 `cdniuc`: a POSIX regular expression over the whole URI without its token."""
    choice = "|".join(re.escape(tier) for tier in tiers)
    return f"regex:[^/]+//[^/]+{re.escape(prefix)}({choice})/[^/?]+"


def parse_uri_container(text: str) -> tuple[str, tuple[str, ...]]:
    """The inverse of `uri_container`. Raises TokenRefused for any other shape."""
    match = re.fullmatch(r"regex:\[\^/\]\+//\[\^/\]\+(/(?:[A-Za-z0-9_./-]|\\[.\-])+/)\(([^()]+)\)/\[\^/\?\]\+", text)
    if match is None:
        raise TokenRefused(TokenRefusal.MALFORMED, "cdniuc is not of the form this service signs")
    prefix = match[1].replace("\\", "")
    tiers = tuple(part.replace("\\", "") for part in match[2].split("|"))
    return prefix, tiers
