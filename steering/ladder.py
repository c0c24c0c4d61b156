"""Where a client goes when its own sites have no room: the rungs below them, by site. Pure.

Own sites always come first (they announce the client's address), the origin is always on the ladder. The rest is the operators'
business and therefore configuration: an ISP may let its sites stand in for each other, a peering site may take what embedded ones
cannot, a commercial CDN may come before or after the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import asin, cos, radians, sin, sqrt

from contracts.places import Attachment, Site

EARTH_KM = 6371.0
BAND_KM = 100.0
"""Sites whose distances fall into one band are equally far."""
_PEERING = (Attachment.PRIVATE_PEERING, Attachment.PUBLIC_PEERING)


class Rung(Enum):
    """One step below the own sites (word in the configuration)."""

    SIBLING = "sibling"
    """Other sites of the own site's ISP."""
    PEERING = "peering"
    """Sites at a peering that hold the files, whoever announces what there."""
    TIER = "tier"
    """Tier sites that hold the files."""
    ORIGIN = "origin"
    CDN = "cdn"
    """The configured commercial CDNs."""


OF_APPLIANCES = (Rung.SIBLING, Rung.PEERING, Rung.TIER)
USUAL = (Rung.TIER, Rung.ORIGIN, Rung.CDN)


@dataclass(frozen=True, slots=True)
class Cdn:
    """A CDN that is not ours and takes our URLs and tokens."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs of all sites. Where `origin` is not named it is the last."""

    usual: tuple[Rung, ...] = USUAL
    by_site: Mapping[str, tuple[Rung, ...]] = field(default_factory=dict)
    cdns: tuple[Cdn, ...] = ()

    def rungs(self, site_id: str) -> tuple[Rung, ...]:
        """The rungs below a site, in order; those of no site in particular for an empty id."""
        found = self.by_site.get(site_id, self.usual)
        return found if Rung.ORIGIN in found else (*found, Rung.ORIGIN)


def is_on(rung: Rung, site: Site, own: Site | None) -> bool:
    """Whether a site that does not announce the client's address is on a rung below the own one."""
    match rung:
        case Rung.SIBLING:
            return own is not None and site.isp == own.isp
        case Rung.PEERING:
            return site.attachment in _PEERING
        case Rung.TIER:
            return site.is_tier
        case _:
            return False


def band(site: Site, own: Site | None) -> tuple[bool, int]:
    """How far a site is from the own one: another region, then bands of BAND_KM. Sites that nobody placed are as near as any."""
    if own is None:
        return (False, 0)
    return (site.region != own.region, int(distance_km(site, own) // BAND_KM))


def distance_km(one: Site, other: Site) -> float:
    """Along the great circle, by the haversine formula; 0 where a site is at latitude and longitude 0, which nobody set."""
    if (one.latitude, one.longitude) == (0.0, 0.0) or (other.latitude, other.longitude) == (0.0, 0.0):
        return 0.0
    north, east = radians(one.latitude - other.latitude), radians(one.longitude - other.longitude)
    across = sin(north / 2) ** 2 + cos(radians(one.latitude)) * cos(radians(other.latitude)) * sin(east / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(across)))


def problem_of(rungs: tuple[Rung, ...]) -> str | None:
    """What is wrong with configured rungs, in words; None for nothing."""
    if len(set(rungs)) < len(rungs):
        return "a rung is named twice"
    kinds = [rung in OF_APPLIANCES for rung in rungs]
    if kinds != sorted(kinds, reverse=True):
        return "sibling, peering and tier come before origin and cdn"
    return None
