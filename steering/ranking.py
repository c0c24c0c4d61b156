"""Which appliances a client should fetch a group from, best first: a pure function of world and request (DESIGN §5).

The order
1. the sites that announce a prefix covering the client: longest prefix, then embedded before private before public
   peering, then AS path, MED, site id; of each site the appliances that take new sessions, in its cluster's order
   (`hashing`): who holds the files, who is planned to, then the others;
2. appliances of tier sites elsewhere that hold the files: nobody else serves other networks' clients;
3. only when this leaves nobody: what was left out as overloaded, then as shedding, then as unhealthy; only when that leaves nobody either: the
   suspects. Suspects whose suspicion is doubted (`vigilance`) come here even when there are better ones;
4. the origins, always.

Laws: never empty as long as an origin or a reachable appliance is known; nothing twice; at most `count` appliances,
distinct by failure domain as far as there are enough; deterministic; a suspect never before one that is not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from contracts.places import Appliance, ApplianceState, Attachment, Site
from contracts.world import Choice, GroupRanking, RankFile, Ranking, RankRequest, Why
from steering.errors import NothingKnown, RankError
from steering.hashing import Member, ordered, remaining_weight
from steering.prefixes import Announcement, IpAddress, Match, parse_address
from steering.world import Held, World

MOST_APPLIANCES = 16
NOTHING_HELD = Held()
_ATTACHMENT_RANK = {kind: rank for rank, kind in enumerate(Attachment)}
_KIND_WHY = (Why.HOLDS, Why.PLANNED, Why.RENDEZVOUS)
LEAST_BAD = (Why.OVERLOADED, Why.SHEDDING, Why.UNHEALTHY)
"""What comes back when nobody else is left, in this order, before suspects. What cannot be reached or is not live never does."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings a ranking depends on (see steering.config for what they mean)."""

    unhealthy_below: float = 0.3
    overloaded_from: float = 0.95
    load_factor: float = 1.2


DEFAULTS = Rules()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An appliance as this client sees it. `problem` is why it is no candidate; None when it is one."""

    appliance: Appliance
    url: str
    problem: Why | None
    score: float
    load: float
    suspect: bool
    match: Match | None
    """The longest prefix of its site that covers the client."""
    held: Held

    @property
    def domain(self) -> tuple[str, str]:
        return (self.appliance.site_id, self.appliance.failure_domain or self.appliance.id)

    @property
    def weight(self) -> float:
        return remaining_weight(self.appliance.egress_bps, self.load)


@dataclass(frozen=True, slots=True)
class Placed:
    """A candidate with the reason for its place."""

    candidate: Candidate
    why: Why


@dataclass(frozen=True, slots=True)
class Order:
    """One group's order before it is cut to `count`: who is chosen, who would have been next."""

    chosen: tuple[Placed, ...]
    beyond: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A checked request over a world: what all its groups share."""

    world: World
    rules: Rules
    client: IpAddress
    scheme: str
    count: int
    matches: tuple[Match, ...]
    own: tuple[tuple[Candidate, ...], ...]
    """The candidates of each site that announces the client's address, the best site first."""

    @property
    def prefix(self) -> str:
        return self.matches[0].cidr if self.matches else ""

    @property
    def site_id(self) -> str:
        return self.own[0][0].appliance.site_id if self.own else ""


def rank(world: World, request: RankRequest, rules: Rules = DEFAULTS) -> Ranking:
    """The ranking of every group of the request, in the request's order.

    Raises RankError for a request that makes no sense and NothingKnown when there is nothing to answer with.
    """
    view = look(world, request, rules)
    origins = origin_choices(world, view.scheme)
    groups = []
    for group, keys in groups_of(request.files):
        choices = tuple(_choice(placed) for placed in order_of(view, group, keys).chosen) + origins
        if not choices:
            raise NothingKnown("no origin and no reachable appliance is known")
        groups.append(GroupRanking(group, choices))
    return Ranking(world.number, view.prefix, view.site_id, tuple(groups))


def look(world: World, request: RankRequest, rules: Rules) -> View:
    """The checked request with the candidates of the client's own sites. Raises RankError."""
    client = _checked(request)
    matches = world.covering(client)
    own: list[tuple[Candidate, ...]] = []
    for site_id, match in _sites_in_order(world, matches):
        boxes = world.by_site.get(site_id, ())
        if boxes:
            own.append(tuple(judge(world, box, match, client, request.scheme, rules) for box in boxes))
    return View(world, rules, client, request.scheme, request.count, matches, tuple(own))


def judge(
    world: World, appliance: Appliance, match: Match | None, client: IpAddress, scheme: str, rules: Rules
) -> Candidate:
    """An appliance's facts for this client, and the first reason that keeps it out."""
    health = world.health.get(appliance.id)
    url, unreachable = _reachable_url(appliance, client, scheme)
    suspect = health is None or health.suspect
    if appliance.state is not ApplianceState.LIVE:
        problem: Why | None = Why.NOT_LIVE
    elif unreachable is not None:
        problem = unreachable
    elif health is not None and not health.serving and not suspect:
        problem = Why.NOT_SERVING
    elif suspect:
        problem = Why.SUSPECT
    elif health is not None and health.score < rules.unhealthy_below:
        problem = Why.UNHEALTHY
    elif health is not None and health.shedding:
        problem = Why.SHEDDING
    elif health is not None and health.load >= rules.overloaded_from:
        problem = Why.OVERLOADED
    else:
        problem = None
    return Candidate(
        appliance=appliance,
        url=url,
        problem=problem,
        score=health.score if health else 0.0,
        load=health.load if health else 0.0,
        suspect=suspect,
        match=match,
        held=world.holdings.get(appliance.id, NOTHING_HELD),
    )


def order_of(view: View, group: str, keys: Sequence[str]) -> Order:
    """The order of one group, the origins left out."""
    ranked = [
        Placed(candidate, _KIND_WHY[kind])
        for candidates in view.own
        for candidate, kind in _in_clusters(view, group, keys, [c for c in candidates if c.problem is None])
    ]
    chosen, passed = _distinct(ranked, view.count)
    elsewhere: list[Placed] = []
    if len(chosen) < view.count:
        elsewhere = [Placed(candidate, Why.OTHER_SITE) for candidate in _tiers(view, group, keys)]
    last = _least_bad(view, group, keys, everything=not ranked and not elsewhere)
    # Whoever shares a failure domain with a better one comes before other sites, not instead of a second domain here.
    more = [*passed, *elsewhere, *last]
    room = view.count - len(chosen)
    return Order(chosen=(*chosen, *more[:room]), beyond=tuple(more[room:]))


def groups_of(files: Iterable[RankFile]) -> list[tuple[str, tuple[str, ...]]]:
    """(group, its keys) in the order of first mention; a file without group is a group of its own."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(file.group or file.key, []).append(file.key)
    return [(group, tuple(keys)) for group, keys in groups.items()]


def origin_choices(world: World, scheme: str) -> tuple[Choice, ...]:
    """All origins by name, those of the client's scheme before others."""
    origins = sorted(world.origins.values(), key=lambda o: (urlsplit(o.player_url).scheme != scheme, o.name))
    return tuple(Choice("", "", origin.player_url, Why.ORIGIN) for origin in origins)


def _checked(request: RankRequest) -> IpAddress:
    """The client's address. Raises RankError with all that is wrong."""
    errors: list[str] = []
    client: IpAddress = ipaddress.IPv4Address(0)
    try:
        client = parse_address(request.client)
    except ValueError:
        errors.append(f"client: {request.client!r} is no IP address")
    if not request.files:
        errors.append("files: at least one is needed")
    if not 1 <= request.count <= MOST_APPLIANCES:
        errors.append(f"count: {request.count} is not between 1 and {MOST_APPLIANCES}")
    if request.scheme not in ("http", "https"):
        errors.append(f"scheme: {request.scheme!r} is neither http nor https")
    if errors:
        raise RankError(*errors)
    return client


def _sites_in_order(world: World, matches: Sequence[Match]) -> list[tuple[str, Match]]:
    """Each site that covers the client once, with its longest prefix, the best first."""
    found: dict[str, Match] = {}
    for match in matches:
        known = [(world.sites[a.site_id], a) for a in match.announcements if a.site_id in world.sites]
        for site, _ in sorted(known, key=_site_rank):
            found.setdefault(site.id, match)
    return list(found.items())


def _site_rank(pair: tuple[Site, Announcement]) -> tuple[int, int, int, str]:
    site, announcement = pair
    return (_ATTACHMENT_RANK[site.attachment], announcement.as_path_length, announcement.med, site.id)


def _reachable_url(appliance: Appliance, client: IpAddress, scheme: str) -> tuple[str, Why | None]:
    """(the first URL of the scheme that the client's family reaches, why there is none). Host names reach both families."""
    why = Why.SCHEME
    for url in appliance.player_urls:
        its_scheme, family = _scheme_and_family(url)
        if its_scheme != scheme:
            continue
        if family is None or family == client.version:
            return url, None
        why = Why.ADDRESS_FAMILY
    return "", why


@lru_cache(maxsize=65536)
def _scheme_and_family(url: str) -> tuple[str, int | None]:
    """(scheme, 4 or 6 for an address literal and None for a name). Remembered: taking URLs apart was a third of a decision."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        return parts.scheme, 6
    return parts.scheme, 4 if host.replace(".", "").isdigit() else None


def _kind(candidate: Candidate, keys: Sequence[str]) -> int:
    """0 when it holds all the keys, 1 when it holds or is planned to hold them, 2 else."""
    held = candidate.held
    if held.whole.issuperset(keys):
        return 0
    return 1 if held.planned and all(key in held.planned or key in held.whole for key in keys) else 2


def _in_clusters(
    view: View, group: str, keys: Sequence[str], candidates: Sequence[Candidate]
) -> list[tuple[Candidate, int]]:
    """Candidates of one site in order, with their kind; loads are compared inside manifest clusters.

    Clusters of one site do not stand before each other: a holder of either comes before one that must fetch.
    """
    by_id = {candidate.appliance.id: candidate for candidate in candidates}
    clusters: dict[str, list[Member]] = {}
    for candidate in candidates:
        member = Member(candidate.appliance.id, _kind(candidate, keys), candidate.weight, candidate.load)
        clusters.setdefault(candidate.appliance.manifest_cluster, []).append(member)
    members = [
        member
        for _, its in sorted(clusters.items())
        for member in ordered(group, str(view.client), its, view.rules.load_factor)
    ]
    return [(by_id[member.id], member.kind) for member in sorted(members, key=lambda member: member.kind)]


def _tiers(view: View, group: str, keys: Sequence[str]) -> list[Candidate]:
    """Appliances of tier sites that do not announce the client's address, and hold the files; nearest first is unknown here,
    so the site is chosen by the group's hash and stays the same for all clients."""
    world = view.world
    own = {candidates[0].appliance.site_id for candidates in view.own}
    found: list[Candidate] = []
    for site in world.sites.values():
        if not site.is_tier or site.id in own:
            continue
        for box in world.by_site.get(site.id, ()):
            if world.holdings.get(box.id, NOTHING_HELD).whole.issuperset(keys):
                candidate = judge(world, box, None, view.client, view.scheme, view.rules)
                if candidate.problem is None:
                    found.append(candidate)
    members = [Member(c.appliance.id, 2, c.weight, c.load) for c in found]
    by_id = {candidate.appliance.id: candidate for candidate in found}
    return [by_id[member.id] for member in ordered(group, "", members, view.rules.load_factor)]


def _least_bad(view: View, group: str, keys: Sequence[str], *, everything: bool) -> list[Placed]:
    """Own appliances that were left out and come back: when there is nobody else the alive ones, and when there are none of
    those either the suspects. Suspects that are doubted come back always."""
    alive = [placed for why in LEAST_BAD for placed in _left_out(view, group, keys, why)] if everything else []
    suspects = _left_out(view, group, keys, Why.SUSPECT)
    if alive or not everything:
        suspects = [placed for placed in suspects if placed.candidate.appliance.id in view.world.doubted]
    return alive + suspects


def _left_out(view: View, group: str, keys: Sequence[str], problem: Why) -> list[Placed]:
    why = Why.SUSPECT_LAST if problem is Why.SUSPECT else problem
    return [
        Placed(candidate, why)
        for candidates in view.own
        for candidate, _ in _in_clusters(view, group, keys, [c for c in candidates if c.problem is problem])
    ]


def _distinct(ranked: Sequence[Placed], count: int) -> tuple[list[Placed], list[Placed]]:
    """(at most `count` with failure domains of their own, in order; all others in order)."""
    chosen: list[Placed] = []
    passed: list[Placed] = []
    domains: set[tuple[str, str]] = set()
    for placed in ranked:
        if len(chosen) < count and placed.candidate.domain not in domains:
            domains.add(placed.candidate.domain)
            chosen.append(placed)
        else:
            passed.append(placed)
    return chosen, passed


def _choice(placed: Placed) -> Choice:
    appliance = placed.candidate.appliance
    return Choice(appliance.id, appliance.site_id, placed.candidate.url, placed.why)
