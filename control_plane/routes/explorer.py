"""What people ask of the routes: where a prefix comes from, what a cluster does not hear alike, what has no alternative."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from contracts.places import Site
from contracts.routes import (
    HeardRoute,
    Inconsistency,
    InconsistencyList,
    LonelyList,
    LonelyRoute,
    QuarantinedRoute,
    QuarantineList,
    RouteFacts,
    RouteList,
    SourceFacts,
    SourceKind,
    SourceState,
)
from control_plane.routes.book import RouteBook
from control_plane.routes.reserved import Network
from control_plane.routes.sessions import CALM_S, Source

HEARS = frozenset({SourceState.UP, SourceState.FLAPPING})
"""States in which what a session does not say is not there."""
BY_HAND = "record"
"""Stands for the source of prefixes that are in a site's record."""


class QueryError(ValueError):
    """What was asked for is neither an address nor a prefix."""


def facts_of(source: Source, cluster: str, hold_s: float) -> SourceFacts:
    return SourceFacts(
        id=source.id,
        site_id=source.site_id,
        kind=source.kind,
        name=source.name,
        appliance_id=source.appliance_id,
        cluster=cluster,
        state=source.state,
        heard=len(source.heard),
        taken=len(source.taken),
        quarantined=len(source.refused),
        since=source.since,
        sentence=sentence_of(source, hold_s),
        peer=source.peer,
        peer_as=source.peer_as,
        policy=source.policy,
    )


def sentence_of(source: Source, hold_s: float) -> str:
    """How the source is, in words."""
    why = f": {source.detail}" if source.detail else ""
    match source.state:
        case SourceState.UP if source.heard and not source.taken:
            return "nothing of what it says is taken: look at the quarantine and at its allow-list"
        case SourceState.UP:
            return f"{len(source.taken)} of {len(source.heard)} prefixes are taken"
        case SourceState.HELD:
            return f"the session is down{why}; its {len(source.taken)} prefixes are held for {hold_s:g} s"
        case SourceState.DOWN:
            return f"the session is down{why}; its prefixes are withdrawn"
        case SourceState.OVER_MAXIMUM:
            return f"it announces more than {source.policy.maximum} prefixes; the last good {len(source.taken)} stand"
        case SourceState.FLAPPING:
            return f"it announces and withdraws too much; {len(source.taken)} prefixes stand until it is calm for {CALM_S:g} s"


def routes(book: RouteBook, sites: Mapping[str, Site], asked: str, site_id: str, limit: int) -> RouteList:
    """Every prefix that some source says, by address. `asked` is an address or a prefix: those around it and those in it.

    Raises QueryError.
    """
    wanted = _asked(asked)
    heard: dict[str, list[HeardRoute]] = {}
    for source in book.sources.values():
        if site_id and source.site_id != site_id:
            continue
        for cidr, route in source.heard.items():
            if wanted is None or _touches(cidr, wanted):
                no = source.refused.get(cidr)
                refusal, sentence = (no.refusal, no.sentence) if no is not None else (None, "")
                heard.setdefault(cidr, []).append(
                    HeardRoute(source.id, source.site_id, route.as_path, route.med, route.next_hop, refusal, sentence)
                )
    for cidr, site in _by_hand(sites.values()):
        if (not site_id or site == site_id) and (wanted is None or _touches(cidr, wanted)):
            heard.setdefault(cidr, []).append(HeardRoute(BY_HAND, site, (), 0, ""))
    rows = sorted(heard, key=_order)
    found = tuple(
        RouteFacts(
            cidr,
            tuple(sorted({one.site_id for one in heard[cidr] if one.refusal is None})),
            tuple(heard[cidr]),
        )
        for cidr in rows[:limit]
    )
    return RouteList(found, len(rows))


def quarantine(book: RouteBook, site_id: str, limit: int) -> QuarantineList:
    rows = [
        (source, cidr)
        for source in book.sources.values()
        if not site_id or source.site_id == site_id
        for cidr in source.refused
    ]
    rows.sort(key=lambda row: (row[0].site_id, row[0].id, _order(row[1])))
    found = tuple(
        QuarantinedRoute(
            source.id,
            source.site_id,
            cidr,
            source.heard[cidr].origin_as if cidr in source.heard else None,
            source.refused[cidr].refusal,
            source.refused[cidr].sentence,
        )
        for source, cidr in rows[:limit]
    )
    return QuarantineList(found, len(rows))


def inconsistencies(book: RouteBook, clusters: Mapping[str, tuple[str, str]], limit: int) -> InconsistencyList:
    """Prefixes that boxes of one cluster do not hear alike. `clusters`: appliance → (site, manifest cluster).

    An appliance is asked only when one of its sessions hears: one without a session is another fault, with its own words.
    """
    hears: dict[tuple[str, str], dict[str, set[str]]] = {}
    for source in book.sources.values():
        place = clusters.get(source.appliance_id)
        if source.kind is SourceKind.BGP and place is not None and source.state in HEARS:
            hears.setdefault(place, {}).setdefault(source.appliance_id, set()).update(source.heard)
    found: list[Inconsistency] = []
    for (site_id, cluster), boxes in sorted(hears.items()):
        for cidr in sorted(set().union(*boxes.values()), key=_order):
            missing = tuple(sorted(box for box, its in boxes.items() if cidr not in its))
            if missing:
                said = tuple(sorted(box for box, its in boxes.items() if cidr in its))
                found.append(Inconsistency(site_id, cluster, cidr, said, missing))
    return InconsistencyList(tuple(found[:limit]), len(found))


def lonely(book: RouteBook, sites: Mapping[str, Site], site_id: str, limit: int) -> LonelyList:
    """Prefixes that only one site is known by; those of one site where it is named."""
    known: dict[str, dict[str, list[str]]] = {}
    for source in book.sources.values():
        if not source.guessed:
            for cidr in source.taken:
                known.setdefault(cidr, {}).setdefault(source.site_id, []).append(source.id)
    for cidr, where in _by_hand(sites.values()):
        known.setdefault(cidr, {}).setdefault(where, []).append(BY_HAND)
    alone = sorted((cidr for cidr, its in known.items() if len(its) == 1 and site_id in ("", *its)), key=_order)
    networks = {ipaddress.ip_network(cidr): frozenset(its) for cidr, its in known.items()}
    found = []
    for cidr in alone[:limit]:
        ((where, sources),) = known[cidr].items()
        found.append(LonelyRoute(cidr, where, tuple(sorted(sources)), _around(cidr, where, networks)))
    return LonelyList(tuple(found), len(alone))


def _around(cidr: str, site_id: str, networks: Mapping[Network, frozenset[str]]) -> tuple[str, ...]:
    """Other sites with a shorter prefix around this one."""
    found: set[str] = set()
    network: Network = ipaddress.ip_network(cidr)
    while network.prefixlen:
        network = network.supernet()
        found |= networks.get(network, frozenset()) - {site_id}
    return tuple(sorted(found))


def _by_hand(sites: Iterable[Site]) -> Iterator[tuple[str, str]]:
    """(canonical prefix, site) of all records."""
    for site in sites:
        for prefix in site.prefixes:
            try:
                yield str(ipaddress.ip_network(prefix.cidr)), site.id
            except ValueError:
                continue


def _asked(text: str) -> Network | None:
    if not text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise QueryError(f"{text!r} is neither an address nor a prefix") from error


def _touches(cidr: str, wanted: Network) -> bool:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return False
    return network.overlaps(wanted) if network.version == wanted.version else False


def _order(cidr: str) -> tuple[int, int, int, str]:
    """By family, address, length; what is no prefix comes last."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return 9, 0, 0, cidr
    return network.version, int(network.network_address), network.prefixlen, ""
