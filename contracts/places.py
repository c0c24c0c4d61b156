"""Sites and appliances as the record knows them (DESIGN §3.5, §4, §6)."""

from __future__ import annotations

from enum import Enum

import msgspec


class ApplianceState(Enum):
    """The states an operator sees. Only `live` takes new sessions; `draining` serves running ones."""

    ENROLLING = "enrolling"
    BURN_IN = "burn-in"
    LIVE = "live"
    DRAINING = "draining"
    DRAINED = "drained"
    MAINTENANCE = "maintenance"
    RETIRED = "retired"


class Attachment(Enum):
    """How a site is attached to the networks that announce its prefixes; better ones rank first."""

    EMBEDDED = "embedded"
    PRIVATE_PEERING = "private-peering"
    PUBLIC_PEERING = "public-peering"


class PopularityKind(Enum):
    """Whose demand stands for a site's."""

    OWN = "own"
    REGION = "region"
    """That of all sites of its region together."""
    FEED = "feed"


class PopularitySource(msgspec.Struct, frozen=True):
    """Where a site takes its popularity from, and how much that counts. `feed` names an uploaded feed and is empty for the others."""

    kind: PopularityKind
    weight: float = 1.0
    feed: str = ""


class FillWindow(msgspec.Struct, frozen=True):
    """Site-local hours in which fills run, with their caps. `start` and `end` are `HH:MM`; end ≤ start crosses midnight.

    `shift_minutes` moves the whole window, by at most two hours either way.
    """

    start: str = "02:00"
    end: str = "14:00"
    timezone: str = "UTC"
    rate_bps: int = 1_200_000_000
    volume_bytes: int = 6_500_000_000_000
    shift_minutes: int = 0


class Prefix(msgspec.Struct, frozen=True):
    """An announced prefix in CIDR form, with the BGP attributes where a feed gives them."""

    cidr: str
    as_path_length: int = 1
    med: int = 0


class Site(msgspec.Struct, frozen=True):
    """One place in one ISP's network. `is_tier` sites may be asked by other sites' appliances for files they hold.

    Sites with the same `fill_cluster` fetch from far once for all of them; empty: the site is one of its own. `fill_masters` of its
    appliances fetch a file from far at the same time (the most that one of the sites says), the others wait for them. Weights of
    `popularity` count among themselves; none means the site's own.
    """

    id: str
    name: str
    isp: str
    region: str
    prefixes: tuple[Prefix, ...] = ()
    attachment: Attachment = Attachment.EMBEDDED
    latitude: float = 0.0
    longitude: float = 0.0
    window: FillWindow = FillWindow()
    is_tier: bool = False
    fill_cluster: str = ""
    fill_masters: int = 1
    popularity: tuple[PopularitySource, ...] = ()


class Appliance(msgspec.Struct, frozen=True):
    """One appliance. `player_urls` are dialled by players, `peer_url` by other appliances over mutual TLS."""

    id: str
    site_id: str
    manifest_cluster: str
    state: ApplianceState
    player_urls: tuple[str, ...] = ()
    peer_url: str = ""
    disk_bytes: int = 0
    cache_share: float = 0.15
    egress_bps: int = 10_000_000_000
    failure_domain: str = ""
    families: tuple[int, ...] = ()
    """IP versions in which `families_of` is reached; empty: in both."""
    families_of: str = ""
    """The host name that `families` are of; empty: all host names among `player_urls`. Others are reached in both."""


class SiteList(msgspec.Struct, frozen=True):
    sites: tuple[Site, ...]


class ApplianceList(msgspec.Struct, frozen=True):
    appliances: tuple[Appliance, ...]


class ApplianceRegistration(msgspec.Struct, frozen=True):
    """Operator: an appliance that will enrol. Its URLs and disk size come with its first report."""

    id: str
    site_id: str
    manifest_cluster: str
    cache_share: float = 0.15
    egress_bps: int = 10_000_000_000
    failure_domain: str = ""


class StateChange(msgspec.Struct, frozen=True):
    """Operator: ask for another state (drain, live, maintenance, retired). Refused with 409 where the table has no edge."""

    state: ApplianceState
    reason: str = ""
