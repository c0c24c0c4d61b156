"""What operators say about placement: pins and blocks, prepositions out of cycle, popularity feeds (DESIGN §4, §6).

Laws: a licence beats every pin; `never` beats `always`; a pin says nothing outside [starts_at, ends_at). A preposition moves bytes
outside the nightly window, never above the site's rate, and is over at `until`. Instants are seconds since the Epoch.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.plans import Order


class PinKind(Enum):
    ALWAYS = "always"
    """Placed before everything else, whatever it is expected to serve."""
    NEVER = "never"
    """Placed nowhere in the scope; what is there is let go with the next plan."""


class PinRequest(msgspec.Struct, frozen=True):
    """`POST /v1/pins`. Exactly one of `key` (a cache key) and `title_id`; at most one of `region` and `site_id`: neither means everywhere.

    None as `starts_at` is now, as `ends_at` until it is removed. A title may be named before it is published.
    """

    kind: PinKind
    key: str = ""
    title_id: str = ""
    region: str = ""
    site_id: str = ""
    starts_at: float | None = None
    ends_at: float | None = None
    reason: str = ""


class Pin(msgspec.Struct, frozen=True):
    """A pin in the record. `files` is how many published files it means now: 0 may be a slip of the pen."""

    number: int
    wanted: PinRequest
    operator: str
    created_at: float
    files: int = 0


class PinList(msgspec.Struct, frozen=True):
    """`GET /v1/pins`: the oldest first."""

    pins: tuple[Pin, ...]


class PrepositionRequest(msgspec.Struct, frozen=True):
    """`POST /v1/prepositions`: get this there now, until `until` (RFC 8007 §5.2.2 knows the word).

    Exactly one of `key` and `title_id`, exactly one of `site_id` and `region`. `rate_bps` 0 is the rate of each site's window.
    """

    until: float
    key: str = ""
    title_id: str = ""
    site_id: str = ""
    region: str = ""
    rate_bps: int = 0
    reason: str = ""


class PlacedOrder(msgspec.Struct, frozen=True):
    """One order of a preposition and the appliance that carries it out."""

    appliance_id: str
    order: Order


class Preposition(msgspec.Struct, frozen=True):
    """A preposition in the record. `refused` has one sentence per site or file that could not be ordered."""

    number: int
    wanted: PrepositionRequest
    operator: str
    created_at: float
    orders: tuple[PlacedOrder, ...]
    held: int = 0
    """Files that were whole at their appliance already."""
    refused: tuple[str, ...] = ()
    cancelled_at: float | None = None


class PrepositionStatus(msgspec.Struct, frozen=True):
    """A preposition and how far its orders are. `active` until it is over, cancelled, or all of it is there."""

    preposition: Preposition
    active: bool
    done: int
    failed: int
    bytes_done: int
    bytes_total: int


class PrepositionList(msgspec.Struct, frozen=True):
    """`GET /v1/prepositions`: the newest first."""

    prepositions: tuple[PrepositionStatus, ...]


class FeedFacts(msgspec.Struct, frozen=True):
    """A named popularity feed: rows of file, hour and views that an operator uploaded."""

    name: str
    rows: int
    files: int
    views: float
    first_hour: int
    last_hour: int
    updated_at: float


class FeedList(msgspec.Struct, frozen=True):
    """`GET /v1/feeds`."""

    feeds: tuple[FeedFacts, ...]
