"""Where each rendition is fetched from, best first: a ranking turned into named pathways. Pure.

Laws: first each rendition's own choice, then at most three appliances, each for all of them, then the origin, which is always
there; a rendition and its media playlist have one ranking. Pathways are made and named by `contracts.pathways`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

import msgspec

from contracts.catalogue import FileKind, Rendition
from contracts.pathways import ORIGIN_PATHWAY, last_of, pathway, pathways_of
from contracts.pathways import pathway_names as names
from contracts.urls import MEDIA_SERVICE, cache_key, with_token
from contracts.world import RankFile, Ranking

FIRST_PATHWAY = pathway(1)
NETWORK_BITS = {4: 24, 6: 48}


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A base URL under a pathway's name, without a slash at the end."""

    pathway: str
    url: str


class Route(msgspec.Struct, frozen=True):
    """A rendition and the places that have it, in the order of pathways; the last is the origin."""

    rendition: Rendition
    places: tuple[Place, ...]

    @property
    def in_turn(self) -> tuple[Place, ...]:
        """The order in which a player should try them that goes through one by one: what stands twice comes late the second time."""
        *appliances, last = self.places
        first = {place.url: place for place in reversed(appliances)}
        again = [place for place in appliances if first[place.url] is not place]
        return (*(place for place in appliances if first[place.url] is place), *again, last)

    def at(self, pathway: str) -> Place:
        """The place on a pathway; the origin when this rendition has fewer of them."""
        return next((place for place in self.places if place.pathway == pathway), self.places[-1])


def group_of(title_id: str, rendition: Rendition) -> str:
    return f"{title_id}/{rendition.id}"


def rank_files(title_id: str, renditions: Sequence[Rendition]) -> tuple[RankFile, ...]:
    """What steering is asked: each rendition's media file under its group."""
    return tuple(RankFile(cache_key(MEDIA_SERVICE, r.path), group_of(title_id, r)) for r in renditions)


def least_bps(renditions: Sequence[Rendition]) -> float:
    """What playing takes at least: the peaks of the lowest picture and the lowest sound."""
    its: dict[FileKind, int] = {}
    for one in renditions:
        its[one.kind] = min(one.bandwidth_bps, its.get(one.kind, one.bandwidth_bps))
    return float(its.get(FileKind.VIDEO, 0) + its.get(FileKind.AUDIO, 0))


def routes(
    title_id: str, renditions: Sequence[Rendition], ranking: Ranking | None, origin_url: str
) -> tuple[Route, ...]:
    """With no ranking everything comes from the origin."""
    groups = {group.group: group.choices for group in ranking.groups} if ranking else {}
    ranked = [groups.get(group_of(title_id, rendition), ()) for rendition in renditions]
    made = []
    for rendition, choices, its in zip(renditions, ranked, pathways_of(ranked), strict=True):
        last = last_of(choices)
        places = [Place(pathway(n), one.url.rstrip("/")) for n, one in enumerate(its, start=1)]
        made.append(Route(rendition, (*places, Place(ORIGIN_PATHWAY, (last.url if last else origin_url).rstrip("/")))))
    return tuple(made)


def pathway_names(made: Sequence[Route]) -> tuple[str, ...]:
    """All pathways in order, the origin last."""
    return names(max((len(route.places) - 1 for route in made), default=0))


def steerable(made: Sequence[Route]) -> bool:
    """Whether there is a first pathway to begin at and to steer away from: some rendition has an appliance."""
    return any(route.places[0].pathway == FIRST_PATHWAY for route in made)


def joined(base: str, reference: str) -> str:
    """The media path that a reference inside a document at path `base` means; empty when it means no path on its server."""
    try:
        parts = urlsplit(urljoin(base, reference))
    except ValueError:
        return ""
    return "" if parts.scheme or parts.netloc or parts.query or parts.fragment else parts.path


def media_url(place: Place, token: str, path: str) -> str:
    """The absolute address of a published file at a place, with the session's token in front."""
    return place.url + with_token(token, path)


def first_site(ranking: Ranking | None) -> str:
    """The site that steering prefers; empty for the origin."""
    first = next((choice for group in (ranking.groups if ranking else ()) for choice in group.choices), None)
    return first.site_id if first and first.appliance_id else ""


def network_of(client: str) -> str:
    """The neighbourhood that one ranking may stand for (/24, /48). Raises ValueError for what is no IP address."""
    address = ipaddress.ip_address(client)
    return str(ipaddress.ip_network((address, NETWORK_BITS[address.version]), strict=False))
