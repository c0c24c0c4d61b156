"""Which networks a site's appliances hear announced: what sources say, what of it is taken, and why the rest is not (DESIGN §5).

A *source* is one BGP session of one appliance, or one import (an MRT dump, a hand-made file, a geo database) of an operator.
Its routes are judged one by one; what is refused is *quarantined*: kept, shown with its reason, told to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Protocol

import msgspec

MAX_REPORT_ROUTES = 500_000
LONGEST_CIDR = 64
"""Characters; the longest IPv6 prefix in any notation has fewer."""
LONGEST_ADDRESS = 64
"""Characters, the name of an interface after a link-local address included (RFC 4007 §11)."""
LONGEST_DETAIL = 1_000
"""Characters of a reason; who reports a longer one cuts it."""


class SourceKind(Enum):
    """Where routes come from. `geo` is a guess: it is asked only where nobody announces anything."""

    BGP = "bgp"
    MRT = "mrt"
    FILE = "file"
    GEO = "geo"


class Route(msgspec.Struct, frozen=True, array_like=True):
    """A prefix as a source says it. The origin of the route is the last of `as_path`, where there is one."""

    cidr: Annotated[str, msgspec.Meta(max_length=LONGEST_CIDR)]
    as_path: tuple[int, ...] = ()
    """Autonomous systems, nearest first. A set of them has no order (RFC 4271 §4.3): it ends the path, as 0, and so does not tell the
    origin."""
    med: int = 0
    next_hop: Annotated[str, msgspec.Meta(max_length=LONGEST_ADDRESS)] = ""

    @property
    def origin_as(self) -> int | None:
        return self.as_path[-1] if self.as_path else None


class RouteSource(Protocol):
    """Anything that routes can be read from: a dump, a file, a database, the table of a BGP daemon."""

    def routes(self) -> Iterator[Route]:
        """All routes, each prefix once. Raises RouteSourceError, and nothing else, when they cannot be read or make no sense."""


class RouteSourceError(Exception):
    """A source cannot be read, or says what is no route; the message says what and where. Nothing of it is taken."""


class RouteReport(msgspec.Struct, frozen=True):
    """`POST /v1/appliance/routes`: what one BGP session of the calling appliance hears.

    `state` names the table after this report, `after` the one it changes: empty when `announced` is the whole table. The control
    plane takes a change only on top of the state it has, so that nothing is lost or counted twice.
    """

    session: str
    up: bool
    state: str
    after: str = ""
    announced: Annotated[tuple[Route, ...], msgspec.Meta(max_length=MAX_REPORT_ROUTES)] = ()
    withdrawn: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_REPORT_ROUTES)] = ()
    peer: Annotated[str, msgspec.Meta(max_length=LONGEST_ADDRESS)] = ""
    """The router's address."""
    peer_as: int = 0
    detail: Annotated[str, msgspec.Meta(max_length=LONGEST_DETAIL)] = ""
    """Why the session is down, in the daemon's words."""


class RouteAnswer(msgspec.Struct, frozen=True):
    """`want_full`: the whole table is to be sent. At once, when a change was not on top of what is known; after a while, when a whole table
    was more than the maximum, which may have been raised by then."""

    want_full: bool = False


class RouteImport(msgspec.Struct, frozen=True):
    """`PUT /v1/sites/ID/routes/NAME`: all routes of an import; what it said before is replaced."""

    kind: SourceKind
    routes: Annotated[tuple[Route, ...], msgspec.Meta(max_length=MAX_REPORT_ROUTES)]
    origin: str = ""
    """What it was read from, for people."""


class RoutePolicy(msgspec.Struct, frozen=True):
    """What a source may announce. Without `allow` and `allow_as` nothing is taken: an ISP must not attract another's customers.

    A route is allowed when it lies in a range of `allow` or its origin is in `allow_as`. Reserved networks, default routes and
    too long prefixes are taken only when `allow` names that very prefix, or a reserved range that covers it.
    """

    allow: tuple[str, ...] = ()
    allow_as: tuple[int, ...] = ()
    maximum: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPORT_ROUTES)] = 20_000
    """Prefixes, taken or not. A source with more keeps what it had."""
    longest_v4: Annotated[int, msgspec.Meta(ge=1, le=32)] = 24
    longest_v6: Annotated[int, msgspec.Meta(ge=1, le=128)] = 48


class RouteRefusal(Enum):
    """Why a route is quarantined (log word = value)."""

    MALFORMED = "no-prefix"
    DEFAULT = "default-route"
    RESERVED = "reserved-network"
    TOO_LONG = "too-long"
    NOT_ALLOWED = "not-on-the-allow-list"
    RPKI_INVALID = "rpki-invalid"


class SourceState(Enum):
    """How a source is (log word = value)."""

    UP = "up"
    """Its routes are taken as they come."""
    HELD = "session-lost-routes-held"
    """The session is down; its routes stand for a while, so that a reset moves nobody."""
    DOWN = "session-down"
    """The session is down and its routes are withdrawn."""
    OVER_MAXIMUM = "over-maximum"
    """It announces more than it may: the last good routes stand."""
    FLAPPING = "flapping"
    """It announces and withdraws too much: the last good routes stand until it is calm."""


ALARMS = frozenset({SourceState.HELD, SourceState.DOWN, SourceState.OVER_MAXIMUM, SourceState.FLAPPING})


class SourceFacts(msgspec.Struct, frozen=True):
    """A source in the route explorer."""

    id: str
    site_id: str
    kind: SourceKind
    name: str
    appliance_id: str
    cluster: str
    state: SourceState
    heard: int
    taken: int
    quarantined: int
    since: float
    """When it came into this state, seconds since the epoch."""
    sentence: str
    peer: str = ""
    peer_as: int = 0
    policy: RoutePolicy = RoutePolicy()


class SourceList(msgspec.Struct, frozen=True):
    sources: tuple[SourceFacts, ...]


class RouteFacts(msgspec.Struct, frozen=True):
    """One prefix in the route explorer: the sites that are known by it, and every source that says it."""

    cidr: str
    sites: tuple[str, ...]
    heard: tuple[HeardRoute, ...]


class HeardRoute(msgspec.Struct, frozen=True):
    source: str
    site_id: str
    as_path: tuple[int, ...]
    med: int
    next_hop: str
    refusal: RouteRefusal | None = None
    sentence: str = ""


class RouteList(msgspec.Struct, frozen=True):
    """`total` counts those that are not listed, too."""

    routes: tuple[RouteFacts, ...]
    total: int


class QuarantinedRoute(msgspec.Struct, frozen=True):
    source: str
    site_id: str
    cidr: str
    origin_as: int | None
    refusal: RouteRefusal
    sentence: str


class QuarantineList(msgspec.Struct, frozen=True):
    quarantined: tuple[QuarantinedRoute, ...]
    total: int


class Inconsistency(msgspec.Struct, frozen=True):
    """A prefix that some appliances of a manifest cluster hear and others, whose sessions are up, do not."""

    site_id: str
    cluster: str
    cidr: str
    heard_by: tuple[str, ...]
    missing_at: tuple[str, ...]


class InconsistencyList(msgspec.Struct, frozen=True):
    inconsistencies: tuple[Inconsistency, ...]
    total: int


class LonelyRoute(msgspec.Struct, frozen=True):
    """A prefix that only one site is known by: when that site is gone, its clients are nobody's."""

    cidr: str
    site_id: str
    sources: tuple[str, ...]
    covered_by: tuple[str, ...] = ()
    """Other sites that announce a shorter prefix around it."""


class LonelyList(msgspec.Struct, frozen=True):
    lonely: tuple[LonelyRoute, ...]
    total: int
