"""A session: one play on one device, from the manifest to the last heartbeat. Pure.

| state | how it gets there | counts as a stream | manifest | heartbeat |
|---|---|---|---|---|
| live | play, or a heartbeat within the TTL | yes | yes | go on |
| silent | no heartbeat for the TTL | no | yes | go on when a stream is left, else stop |
| ended | stop, another play on the device | no | no | stop |
| expired | no renewal within the title's duration and `token_extra_s` | no | no | stop |

A renewal brings a silent or expired session back to life when a stream is left, as a new play would; an ended one stays ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from companions.playback.entitlement import Stream, stream_refusal
from companions.playback.pathways import Route
from companions.playback.sheets import PackagedFile
from contracts.members import MemberPlan


class EndReason(Enum):
    """Why a session is over (log word = value)."""

    STOPPED = "stopped"
    """The player said so."""
    REPLACED = "another-play-on-this-device"
    EXPIRED = "expired"
    TOO_MANY = "too-many-streams"
    """It was silent, and others took its place."""
    REVOKED = "revoked"
    """An operator took it back."""


class Session(msgspec.Struct, frozen=True):
    """What is known of a play. Instants in seconds since the epoch."""

    id: str
    account_id: str
    profile_id: str
    title_id: str
    device_id: str
    region: str
    plan: str
    tiers: tuple[str, ...]
    routes: tuple[Route, ...]
    duration_s: float
    site_id: str
    started_at: float
    seen_at: float
    expires_at: float
    ended_at: float | None = None
    end_reason: str = ""
    dash: PackagedFile | None = None
    hls: PackagedFile | None = None
    steering: str = ""
    """Where content steering knows this session: path and query under steering's base URL; empty where it does not."""

    @property
    def stream(self) -> Stream:
        return Stream(self.id, self.device_id, self.title_id, self.seen_at)

    def over(self, now: float) -> str:
        """Why no manifest is given any more; empty while one is."""
        if self.ended_at is not None:
            return self.end_reason
        return EndReason.EXPIRED.value if now >= self.expires_at else ""

    def token_expires_at(self, now: float, token_s: float) -> float:
        """When a media token that is signed now ends; `token_s` is the most it may live (0: as long as the session)."""
        return min(self.expires_at, now + token_s) if token_s else self.expires_at


def beat_refusal(session: Session, running: Sequence[Stream], ttl_s: float, now: float) -> str:
    """Why the player has to stop, or empty. `running` are the account's live streams."""
    over = session.over(now)
    if over or now - session.seen_at <= ttl_s:
        return over
    return _no_stream_left(session, running, now)


def renewal_refusal(session: Session, running: Sequence[Stream], ttl_s: float, now: float) -> str:
    """Why its token is not renewed, or empty. `running` are the account's live streams."""
    if session.ended_at is not None:
        return session.end_reason
    if now < session.expires_at and now - session.seen_at <= ttl_s:
        return ""
    return _no_stream_left(session, running, now)


def _no_stream_left(session: Session, running: Sequence[Stream], now: float) -> str:
    others = [stream for stream in running if stream.session_id != session.id]
    plan = MemberPlan.named(session.plan) or MemberPlan.BASIC
    return EndReason.TOO_MANY.value if stream_refusal(plan, others, session.device_id, now) else ""
