"""Plays as steering remembers them: found again, explained, and accounted for by site and hour (docs/ranking.md)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from contracts.decisions import PlayExplanation

LOOK_BACK_S = 3600.0
LONGEST_SESSION_S = 12 * 3600.0
"""How far back a session is looked for where nobody says since when: a film with long pauses."""
MOST_FOUND = 1_000
MOST_ACCOUNTS = 200_000


class Cause(Enum):
    """Why bytes, or the first choices of plays, came to where they came to (log word)."""

    INSIDE = "inside"
    CONTENT = "content-miss"
    HEALTH = "health-miss"
    OTHER = "other"


class PlaySearch(msgspec.Struct, frozen=True):
    """Query of `GET /v1/plays`; what is empty asks nothing. `client` is a whole address: it is cut as the log cuts them."""

    play: str = ""
    """The session that tokens, access logs and the answer of a play request name."""
    client: str = ""
    title: str = ""
    since: str = ""
    """An instant, ISO 8601; without one, an hour before `until`."""
    until: str = ""
    """An instant, not included; without one, now."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_FOUND)] = 100


class SinceQuery(msgspec.Struct, frozen=True):
    """From which instant on, ISO 8601; without one, LONGEST_SESSION_S before now."""

    since: str = ""


class FoundPlay(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision in a list. `first` counts groups by the appliance that is their first choice (what is none: by reason);
    `meant` counts them by `Cause`."""

    time: str
    client: str
    site: str
    prefix: str
    title: str
    groups: int
    first: dict[str, int]
    meant: dict[str, int]
    play: str = ""
    steered: str = ""
    """Why a running session was moved; empty for a ranking."""


class PlayList(msgspec.Struct, frozen=True):
    """The newest decisions first.

    `whole` is False where there may be older ones in the time asked for; `unread` counts lines of a newer format, and broken ones; `silent` are processes of
    steering that did not answer, each with the reason: what they decided is missing.
    """

    plays: tuple[FoundPlay, ...]
    since: str
    until: str
    whole: bool = True
    unread: int = 0
    silent: tuple[str, ...] = ()


class PlayTold(msgspec.Struct, frozen=True):
    """All decisions for a session, the first one first (`GET /v1/plays/told` of steering, `GET /v1/plays/SESSION` of the control plane)."""

    told: tuple[PlayExplanation, ...]
    silent: tuple[str, ...] = ()


class MeantHour(msgspec.Struct, frozen=True):
    """First choices of groups in one hour (such as `2026-11-21T09`, UTC) for clients of one site (empty: nobody's), by `Cause`."""

    site: str
    hour: str
    plays: int
    meant: dict[str, int]


class MeantList(msgspec.Struct, frozen=True):
    """`GET /v1/meant` of steering: what was decided since `since`, at most the last hours that are kept."""

    since: str
    hours: tuple[MeantHour, ...]


class HourAccount(msgspec.Struct, frozen=True):
    """One site and hour of the steering log joined with access logs: bytes of players' requests, and groups of plays, by `Cause`."""

    site: str
    hour: str
    requests: int
    bytes: dict[str, int]
    plays: dict[str, int]


class AccountImport(msgspec.Struct, frozen=True):
    """`PUT /v1/misses`: accounts take the place of those of the same site and hour."""

    accounts: Annotated[tuple[HourAccount, ...], msgspec.Meta(max_length=MOST_ACCOUNTS)]


class SiteHour(msgspec.Struct, frozen=True):
    """One site and hour as far as anybody knows it; what nobody knows is empty.

    `served` are bytes for players by `Source` as appliances reported them, in the hour in which the report came. `meant` and `plays` are
    steering's own count. `joined` are bytes by `Cause`, of `requests`, from logs that an operator joined.
    """

    site: str
    hour: str
    served: dict[str, int] = {}
    plays: int = 0
    meant: dict[str, int] = {}
    requests: int = 0
    joined: dict[str, int] = {}


class SiteHourList(msgspec.Struct, frozen=True):
    """`GET /v1/misses`: the oldest hour first, then by site."""

    hours: tuple[SiteHour, ...]
    silent: tuple[str, ...] = ()
