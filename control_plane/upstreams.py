"""Who an appliance asks on a miss, best first: peers of its manifest cluster, of its site, tiers, origins."""

from __future__ import annotations

import math
from collections.abc import Iterable

from contracts.places import ApplianceState, Site
from contracts.plans import RankedSource, SourceKind
from contracts.world import FallbackOrigin
from control_plane.registry import Box, Registry

SERVES_OTHERS = frozenset({ApplianceState.LIVE, ApplianceState.DRAINING})
EARTH_RADIUS_KM = 6371.0


def parents(registry: Registry, box: Box) -> tuple[RankedSource, ...]:
    """Parents of `box`. Suspects and boxes that serve nobody are left out; equal ones stand in the order of their ids."""
    usable = [other for other in registry.boxes.values() if other is not box and is_usable(other)]
    peers = [other for other in usable if other.site_id == box.site_id]
    peers.sort(key=lambda other: (other.registration.manifest_cluster != box.registration.manifest_cluster, other.id))
    own_site = registry.sites.get(box.site_id)
    tiers = [(registry.sites[other.site_id], other) for other in usable if is_foreign_tier(registry, other, box)]
    tiers.sort(key=lambda pair: (distance_km(own_site, pair[0]), pair[1].id))
    return (
        *(_source(SourceKind.PEER, other) for other in peers),
        *(_source(SourceKind.TIER, other) for _, other in tiers),
        *origin_sources(registry.origins.values()),
    )


def is_usable(box: Box) -> bool:
    """True when other appliances may ask it."""
    address = box.report is not None and box.report.peer_url
    return bool(address) and box.state in SERVES_OTHERS and box.pulse.suspect is None and box.pulse.serving


def is_foreign_tier(registry: Registry, other: Box, box: Box) -> bool:
    site = registry.sites.get(other.site_id)
    return site is not None and site.is_tier and other.site_id != box.site_id


def origin_sources(origins: Iterable[FallbackOrigin]) -> tuple[RankedSource, ...]:
    return tuple(RankedSource(SourceKind.ORIGIN, origin.name, origin.mtls_url) for origin in origins)


def distance_km(one: Site | None, other: Site) -> float:
    """Great-circle distance; 0 when one place is unknown."""
    if one is None:
        return 0.0
    lat1, lat2 = math.radians(one.latitude), math.radians(other.latitude)
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(other.longitude - one.longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


def _source(kind: SourceKind, box: Box) -> RankedSource:
    assert box.report is not None
    return RankedSource(kind, box.id, box.report.peer_url)
