"""The change stream from control plane to steering, and what a ranking is asked and answered (DESIGN §5)."""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.keysets import pack
from contracts.places import Appliance, Prefix, Site
from contracts.reports import Holding


class Health(msgspec.Struct, frozen=True):
    """How an appliance is. `suspect` when its heartbeat stream broke or four beats were missed."""

    appliance_id: str
    score: float
    suspect: bool
    serving: bool
    load: float
    reasons: tuple[str, ...] = ()
    shedding: bool = False
    """It refuses new sessions for want of capacity, and serves those that run."""


class Holdings(msgspec.Struct, frozen=True):
    """Changes of what one appliance holds. `full` replaces everything known of it."""

    appliance_id: str
    full: bool
    held: tuple[Holding, ...] = ()
    dropped: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    """Keys its plan pins; only with `full`."""


class HoldingsDigest(msgspec.Struct, frozen=True, omit_defaults=True):
    """`Holdings` as packed sets (contracts.keysets), eight bytes a file: what is held, without what it is called.

    `held` are files that are there whole; a file that is there in part is not held, and is `dropped` in case it was.
    """

    appliance_id: str
    full: bool
    held: bytes = b""
    dropped: bytes = b""
    planned: bytes = b""
    """What its plan pins; only with `full`."""


def digest_of(told: Holdings) -> HoldingsDigest:
    """The same as packed sets."""
    whole = {holding.key for holding in told.held if 0 < holding.size_bytes <= holding.present_bytes}
    if told.full:
        return HoldingsDigest(told.appliance_id, True, held=pack(whole), planned=pack(told.planned))
    gone = ({holding.key for holding in told.held} | set(told.dropped)) - whole
    return HoldingsDigest(told.appliance_id, False, held=pack(whole), dropped=pack(gone))


class FallbackOrigin(msgspec.Struct, frozen=True):
    name: str
    player_url: str
    mtls_url: str


class SiteRoutes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Changes of the prefixes that a site is known by beside those of its record. `full` replaces all of the same kind."""

    site_id: str
    full: bool = False
    announced: tuple[Prefix, ...] = ()
    withdrawn: tuple[str, ...] = ()
    guessed: bool = False
    """From a geo database: asked only for clients that nobody announces."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `GET /v1/changes` (NDJSON, mutual TLS). Exactly one of the fields after `number` is set.

    The stream opens with a snapshot (sites, routes, appliances, health, holdings, origins), then `snapshot_complete`, then
    changes as they happen, and an empty `tick` every second so that a broken stream shows within a few seconds.

    `GET /v1/changes?after=N` asks to go on after change N, for a reader that has the whole record of that number: where the
    control plane still has all that came since, the stream opens with `resumed` instead, and those changes follow. Otherwise it
    opens with a snapshot.
    """

    number: int
    site: Site | None = None
    site_gone: str | None = None
    appliance: Appliance | None = None
    appliance_gone: str | None = None
    health: Health | None = None
    holdings: Holdings | None = None
    digest: HoldingsDigest | None = None
    """What `holdings` says, as it crosses the border; readers take both."""
    origin: FallbackOrigin | None = None
    routes: SiteRoutes | None = None
    snapshot_complete: bool = False
    tick: bool = False
    resumed: bool = False
    """Nothing is missing between the number that was asked for and what follows."""


class RankRequest(msgspec.Struct, frozen=True):
    """`POST /v1/rank`. One ranking per key; keys with one `group` (a rendition and its playlist) get one ranking."""

    client: str
    """The client's IP address."""
    files: tuple[RankFile, ...]
    count: int = 3
    scheme: str = "http"
    play: str = ""
    """The playback session that asks, as media tokens and access logs name it: by it a decision is found again. Empty for none."""
    until: float = 0.0
    """When that session ends, in seconds since 1970. With `play` and `until` the answer has an address for content steering."""
    needs_bps: float = 0.0
    """What the session takes with its lowest renditions, in bits per second; 0 when that is not known."""


class RankFile(msgspec.Struct, frozen=True):
    key: str
    group: str


class Why(Enum):
    """Why a candidate stands where it stands, or was left out (log word = value)."""

    HOLDS = "holds-the-file"
    PLANNED = "planned-to-hold-the-file"
    RENDEZVOUS = "rendezvous-rank"
    OTHER_SITE = "another-site"
    SIBLING = "sibling-site"
    PEERING = "peering-site"
    NEARLY_FULL = "nearly-full"
    ORIGIN = "origin-as-last-resort"
    CDN = "commercial-cdn"
    SUSPECT_LAST = "suspect-but-better-than-nothing"
    NOT_LIVE = "not-live"
    SUSPECT = "suspect"
    NOT_SERVING = "not-serving"
    UNHEALTHY = "unhealthy"
    OVERLOADED = "overloaded"
    SHEDDING = "sheds-new-sessions"
    ADDRESS_FAMILY = "not-reachable-in-this-address-family"
    SCHEME = "no-address-for-this-scheme"
    NO_PREFIX = "no-prefix-covers-the-client"
    ENOUGH = "enough-better-ones"
    SAME_FAILURE_DOMAIN = "same-failure-domain-as-a-better-one"


class Choice(msgspec.Struct, frozen=True):
    """One place to fetch from, best first. `appliance_id` is empty for an origin and for a commercial CDN."""

    appliance_id: str
    site_id: str
    url: str
    why: Why


class GroupRanking(msgspec.Struct, frozen=True):
    group: str
    choices: tuple[Choice, ...]
    """Never empty. Origins come after all appliances; a commercial CDN stands where the ladder of the site puts it."""


class Ranking(msgspec.Struct, frozen=True):
    world_number: int
    prefix: str
    """The longest announced prefix that covers the client, or empty."""
    site_id: str
    groups: tuple[GroupRanking, ...]
    steering: str = ""
    """Where the session's player asks how to go on: path and query, relative to steering's public base URL. Empty where it is not steered."""


class CandidateFacts(msgspec.Struct, frozen=True):
    appliance_id: str
    site_id: str
    position: int | None
    """0 first; None when left out."""
    why: Why
    matched_prefix: str
    holds: bool
    planned: bool
    score: float
    load: float
    suspect: bool
    weight: float
    """Its share among others that hold the same, in bits per second of egress that are left."""
    sentence: str
    crowded: bool = False
    """Over the bound of its cluster: behind others of its kind."""
    full: bool = False
    """Near saturation: behind everybody who has room."""
    ramp: float = 1.0
    """Below 1 while it starts slowly after it came back."""


class RankExplanation(msgspec.Struct, frozen=True):
    """`POST /v1/explain`: the ranking of each group and every candidate's facts."""

    ranking: Ranking
    candidates: dict[str, tuple[CandidateFacts, ...]]
    """By group."""


class WorldFacts(msgspec.Struct, frozen=True):
    """`GET /v1/world`: what steering knows, in numbers, and whether it is kept up."""

    number: int
    live: bool
    """The change stream stands; False means that the last known world answers."""
    sites: int
    appliances: int
    origins: int
    held_files: int
    """Files held whole, summed over appliances."""
    suspects: tuple[str, ...]
    doubted: tuple[str, ...]
    """Suspects that stay in the answers, last, because monitoring is presumed broken."""
    quarantined: tuple[str, ...]
    """What sites announce and is no prefix."""
    prefixes: int = 0
    """Prefixes that some site announces, each counted once."""
    guessed: int = 0
    """Prefixes from geo databases."""


class Announcer(msgspec.Struct, frozen=True):
    """A site that announces a prefix, as steering has it."""

    site_id: str
    as_path_length: int
    med: int
    by_hand: bool
    """It stands in the site's record; otherwise an appliance or an import says it."""


class CoveringPrefix(msgspec.Struct, frozen=True):
    cidr: str
    announcers: tuple[Announcer, ...]
    guessed: bool = False


class Covering(msgspec.Struct, frozen=True):
    """`GET /v1/routes?client=ADDRESS`: the prefixes that cover an address, longest first, guesses last."""

    client: str
    world_number: int
    prefixes: tuple[CoveringPrefix, ...]
