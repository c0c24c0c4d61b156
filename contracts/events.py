"""What happened, as it is logged for those who count later: one JSON object per line, one type per stream.

A line carries its own instant and ids, so that logs of many processes can be merged and a line read twice is seen to be
one (`event_id`).
"""

from __future__ import annotations

from enum import Enum

import msgspec


class PlaybackEventKind(Enum):
    STARTED = "started"
    """Playback handed out a manifest."""
    BEAT = "beat"
    """The player said where it is."""
    ENDED = "ended"
    """The session ended; `reason` says why."""
    REFUSED = "refused"
    """Somebody asked to play and was refused; `reason` is the problem code."""


class PlaybackEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the playback log (companions/playback). No e-mail address and no client address is in it."""

    event_id: str
    kind: PlaybackEventKind
    at: float
    account_id: str
    profile_id: str
    title_id: str
    region: str
    session_id: str = ""
    device_id: str = ""
    site_id: str = ""
    """Where steering sent the session first; empty when to the origin."""
    position_s: float = 0.0
    rendition: str = ""
    rebuffers: int = 0
    bytes: int = 0
    reason: str = ""
