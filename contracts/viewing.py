"""Playing: sessions, heartbeats, resume positions, and the rows of a home page (companions/playback, recommendation)."""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.catalogue import TitleSummary


class DeviceLimits(msgspec.Struct, frozen=True):
    """What a device can show; what it does not state does not limit it.

    `codecs` are all families that it decodes, of picture and sound, as the first part of an RFC 6381 name: `avc1`, `hvc1`,
    `av01`, `mp4a`, `opus`. `max_height` counts the lines of a picture, on its shorter side; `max_frame_rate` frames per
    second. `hdr` False leaves out PQ and HLG.
    """

    codecs: tuple[str, ...] = ()
    max_height: int = 0
    max_frame_rate: float = 0.0
    hdr: bool = True


ANY_DEVICE = DeviceLimits()


class PlayRequest(msgspec.Struct, frozen=True):
    """`POST /v1/play` at playback, with the member's access token."""

    title_id: str
    profile_id: str
    device_id: str
    demo_network: str = ""
    """The profile's demo network; ignored unless the service's `allow_demo_network` is on."""
    device: DeviceLimits = ANY_DEVICE


class PlayAnswer(msgspec.Struct, frozen=True):
    """Manifest URLs are absolute and need no header: they carry the session's secret. Positions and durations in seconds.

    `expires_at` is when the media token of a manifest fetched now ends; `expires_in_s` says it to clients whose clock is wrong.
    """

    session_id: str
    dash_url: str
    hls_url: str
    position_s: float
    duration_s: float
    heartbeat_url: str
    heartbeat_interval_s: float
    expires_at: float
    expires_in_s: float = 0.0
    renew_url: str = ""


class Renewal(msgspec.Struct, frozen=True):
    """`POST renew_url` with the member's access token: a media token that may take the place of the earlier one in every
    media address of the session, which lives on from now."""

    token: str
    expires_at: float
    expires_in_s: float


class PlayEvent(Enum):
    START = "start"
    BEAT = "beat"
    PAUSE = "pause"
    STOP = "stop"


class PlayBeat(msgspec.Struct, frozen=True):
    """`POST heartbeat_url`: where the player is. A session without a beat for the TTL stops counting as a stream."""

    event: PlayEvent
    position_s: float
    rendition: str = ""
    rebuffers: int = 0
    bytes: int = 0


class BeatAnswer(msgspec.Struct, frozen=True):
    go_on: bool
    reason: str = ""


class Position(msgspec.Struct, frozen=True):
    """How far a profile watched a title."""

    title_id: str
    position_s: float
    duration_s: float
    watched_at: float
    finished: bool


class Positions(msgspec.Struct, frozen=True):
    """`GET /v1/profiles/ID/positions` at playback, newest first."""

    positions: tuple[Position, ...]


class TitleCount(msgspec.Struct, frozen=True):
    title_id: str
    plays: float


class Popular(msgspec.Struct, frozen=True):
    """`GET /v1/popular?region=` at playback: decayed counts of plays, most played first."""

    titles: tuple[TitleCount, ...]


class RowKind(Enum):
    CONTINUE = "continue-watching"
    BECAUSE = "because-you-watched"
    POPULAR = "popular-here"
    NEW = "new"


class Row(msgspec.Struct, frozen=True):
    kind: RowKind
    heading: str
    titles: tuple[TitleSummary, ...]
    positions: dict[str, float] = {}
    """Title id → share watched (0..1), in the continue-watching row."""


class Home(msgspec.Struct, frozen=True):
    """`GET /v1/home?profile_id=` at recommendation. `degraded` names what could not be asked (then rows fall back)."""

    rows: tuple[Row, ...]
    degraded: tuple[str, ...] = ()


class DemoNetwork(msgspec.Struct, frozen=True):
    """A network that a browser on one machine may pretend to be in: what the picker shows, and an address inside it."""

    name: str
    address: str


class ViewerConfig(msgspec.Struct, frozen=True):
    """`GET /config.json` on playback's listener: where the viewer page finds the services (public base URLs).

    `demo_networks` is empty unless playback's `allow_demo_network` is on.
    """

    auth_url: str
    catalog_url: str
    recommendation_url: str
    playback_url: str
    demo_networks: tuple[DemoNetwork, ...] = ()
    regions: tuple[str, ...] = ()
    """ISO 3166 codes that the sign-up form offers."""
