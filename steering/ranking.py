"""Which appliances a client should fetch a group from, best first: a pure function of a scene and a request (DESIGN §5).

The order
1. the sites that announce a prefix covering the client: longest prefix, then embedded before private before public
   peering, then AS path, MED, site id; of each site the appliances that take new sessions and have room: who holds the files,
   who is planned to, then the others (`hashing`);
2. appliances of the rungs below (`ladder`), the nearest site first, that have room and, but for siblings, hold the files;
3. the own appliances that are nearly full;
4. only when this leaves nobody: what was left out as overloaded, then as shedding, then as unhealthy; only when that leaves
   nobody either: the suspects. Suspects whose suspicion is doubted (`vigilance`) come here even when there are better ones;
5. the origins, always, and commercial CDNs where the ladder has them.

Laws: never empty as long as an origin or a reachable appliance is known; nothing twice; at most `count` appliances,
distinct by failure domain as far as there are enough; deterministic; a suspect never before one that is not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import urlsplit

from contracts.keysets import key_hash
from contracts.places import Attachment, Site
from contracts.world import Choice, GroupRanking, RankFile, Ranking, RankRequest, Why
from steering.candidates import DEFAULTS, Boxes, Candidate, Roster, Rules, Scene, boxes_of
from steering.errors import NothingKnown, RankError
from steering.hashing import Kind, by_rendezvous, name_of
from steering.ladder import OF_APPLIANCES, Rung
from steering.prefixes import Announcement, IpAddress, Match, parse_address
from steering.standing import Standings
from steering.world import World

MOST_APPLIANCES = 16
MOST_FILES = 2_000
"""Of one request: a decision holds up all others while it is made."""
HEAD_COPIES = 3
"""A plan gives two copies to what is only safe to hold twice; files that more boxes of a site hold are its head."""
_ATTACHMENT_RANK = {kind: rank for rank, kind in enumerate(Attachment)}
_KINDS = ((Kind.HOLDS, Why.HOLDS), (Kind.PLANNED, Why.PLANNED), (Kind.LACKS, Why.RENDEZVOUS))
_RUNG_WHY = {Rung.SIBLING: Why.SIBLING, Rung.PEERING: Why.PEERING, Rung.TIER: Why.OTHER_SITE}
LEAST_BAD = (Why.OVERLOADED, Why.SHEDDING, Why.UNHEALTHY)
"""What comes back when nobody else is left, in this order, before suspects. What cannot be reached or is not live never does."""
_SALT = attrgetter("salt")
_CROWDED = attrgetter("crowded")
_HEAD = attrgetter("head_weight")
_TAIL = attrgetter("tail_weight")
_MISS = attrgetter("miss_weight")


class Placed(NamedTuple):
    """A candidate with the reason for its place."""

    candidate: Candidate
    why: Why


class Order(NamedTuple):
    """One group's order: who is chosen, and, when all were asked for, who would have been next."""

    chosen: tuple[Placed, ...]
    beyond: tuple[Placed, ...]


class Group(NamedTuple):
    """Files that are fetched from one place: a rendition with its playlist."""

    name: str
    keys: tuple[str, ...]
    hashes: tuple[int, ...]


class View(NamedTuple):
    """A checked request over a scene: what all its groups share."""

    scene: Scene
    client: IpAddress
    scheme: str
    wanted: int
    matches: tuple[Match, ...]
    own: tuple[tuple[Roster, Match], ...]
    """The roster of each site that announces the client's address, with its longest prefix, the best site first."""
    client_name: str
    """What is hashed of the client: its address as a number, which costs a tenth of writing out an IPv6 address."""

    @property
    def prefix(self) -> str:
        return self.matches[0].cidr if self.matches else ""

    @property
    def site_id(self) -> str:
        return self.own[0][0].site_id if self.own else ""


class Ranked(NamedTuple):
    """A ranking, and what it was made from."""

    ranking: Ranking
    view: View
    groups: list[Group]


def rank(world: World, request: RankRequest, rules: Rules = DEFAULTS, standings: Standings | None = None) -> Ranking:
    """The ranking of every group of the request, in the request's order.

    Raises RankError for a request that makes no sense and NothingKnown when there is nothing to answer with.
    """
    return rank_in(Scene(world, rules, standings), request)


def rank_in(scene: Scene, request: RankRequest) -> Ranking:
    """`rank` in a scene that is there already."""
    return ranked_in(scene, request).ranking


def ranked_in(scene: Scene, request: RankRequest) -> Ranked:
    """`rank_in` with what the ranking was made from."""
    view = look(scene, request)
    last = last_choices(view)
    asked = groups_of(request.files)
    groups = []
    for group in asked:
        choices = tuple([_choice(placed) for placed in order_of(view, group).chosen]) + last
        if not choices:
            raise NothingKnown("no origin and no reachable appliance is known")
        groups.append(GroupRanking(group.name, choices))
    return Ranked(Ranking(scene.world.number, view.prefix, view.site_id, tuple(groups)), view, asked)


def look(scene: Scene, request: RankRequest) -> View:
    """The checked request with the candidates of the client's own sites. Raises RankError."""
    client = _checked(request)
    matches = scene.world.covering(client)
    own = []
    for site_id, match in _sites_in_order(scene.world, matches):
        roster = scene.roster(site_id, client.version, request.scheme)
        if roster.candidates:
            own.append((roster, match))
    return View(scene, client, request.scheme, request.count, matches, tuple(own), f"{int(client):x}")


def order_of(view: View, group: Group, *, whole: bool = False) -> Order:
    """The order of one group, what is no appliance left out. `whole` gives everybody who would have been next, too."""
    picked = _Picked(view.wanted, whole)
    client = view.client_name
    roomy = [in_kinds(roster, roster.roomy, group, client) for roster, _ in view.own]
    picked.take(placed for ranked in roomy for placed in ranked)
    # Whoever shares a failure domain with a better one comes before other sites, not instead of a second domain here.
    picked.take_passed()
    if picked.wants_more:
        picked.take_all(_elsewhere(view, group))
    if picked.wants_more:
        full = (placed for roster, _ in view.own for placed in in_kinds(roster, roster.full, group, client))
        picked.take_all(Placed(placed.candidate, Why.NEARLY_FULL) for placed in full)
    if picked.wants_more:
        picked.take_all(_least_bad(view, group, everything=picked.nobody))
    return picked.order()


def groups_of(files: Iterable[RankFile]) -> list[Group]:
    """The groups in the order of first mention; a file without group is a group of its own."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(file.group or file.key, []).append(file.key)
    return [Group(name, tuple(keys), tuple(map(key_hash, keys))) for name, keys in groups.items()]


def last_choices(view: View) -> tuple[Choice, ...]:
    """What is no appliance, as the own site's ladder has it: origins by name and CDNs, each those of the client's scheme first."""
    known_as = (view.site_id, view.scheme)
    found = view.scene.last.get(known_as)
    if found is None:
        found = view.scene.last[known_as] = _last_choices(view)
    return found


def _last_choices(view: View) -> tuple[Choice, ...]:
    ladder = view.scene.rules.ladder
    found: list[Choice] = []
    for rung in ladder.rungs(view.site_id):
        if rung is Rung.ORIGIN:
            origins = [(origin.player_url, origin.name) for origin in view.scene.world.origins.values()]
            found += _by_scheme(origins, view.scheme, Why.ORIGIN)
        elif rung is Rung.CDN:
            found += _by_scheme([(cdn.url, cdn.name) for cdn in ladder.cdns], view.scheme, Why.CDN)
    return tuple(found)


def in_kinds(roster: Roster, boxes: Boxes, group: Group, client: str) -> Iterator[Placed]:
    """Some candidates of one site: holders, then planned ones, then the others. Nothing is hashed before it is asked for.

    Clusters of one site do not stand before each other: a holder of either comes before one that must fetch.
    """
    holders, planned = roster.shelf.stock(group.hashes)
    of_kinds = (boxes.bits & holders, boxes.bits & planned, boxes.bits & ~(holders | planned))
    is_head = (boxes.bits & (holders | planned)).bit_count() >= HEAD_COPIES
    crowded = _CROWDED if boxes.crowded else None
    for bits, (kind, why) in zip(of_kinds, _KINDS, strict=True):
        if bits:
            its = [candidate for candidate in boxes.all if candidate.bit & bits]
            weight = _MISS if kind is Kind.LACKS else _HEAD if is_head else _TAIL
            for candidate in by_rendezvous(name_of(group.name, client, kind), its, _SALT, weight, crowded):
                yield Placed(candidate, why)


class _Picked:
    """Takes candidates in order until there are enough: first only such with a failure domain of their own, then any."""

    def __init__(self, count: int, whole: bool) -> None:
        self._count = count
        self._whole = whole
        self._chosen: list[Placed] = []
        self._beyond: list[Placed] = []
        self._passed: list[Placed] = []
        self._domains: set[tuple[str, str]] = set()

    @property
    def wants_more(self) -> bool:
        return self._whole or len(self._chosen) < self._count

    @property
    def nobody(self) -> bool:
        return not self._chosen

    def take(self, ranked: Iterable[Placed]) -> None:
        count, chosen, domains = self._count, self._chosen, self._domains
        for placed in ranked:
            domain = placed.candidate.domain
            if len(chosen) < count and domain not in domains:
                domains.add(domain)
                chosen.append(placed)
                if len(chosen) == count and not self._whole:
                    return
            else:
                self._passed.append(placed)

    def take_passed(self) -> None:
        passed, self._passed = self._passed, []
        if passed and self.wants_more:
            self.take_all(passed)

    def take_all(self, ranked: Iterable[Placed]) -> None:
        for placed in ranked:
            if len(self._chosen) < self._count:
                self._chosen.append(placed)
                if not self.wants_more:
                    return
            else:
                self._beyond.append(placed)

    def order(self) -> Order:
        return Order(tuple(self._chosen), tuple(self._beyond))


def _elsewhere(view: View, group: Group) -> Iterator[Placed]:
    """Appliances with room on the rungs below the own site. Equally near sites are as one: the group's hash chooses among them,
    the same for all clients. A site is on the first of its rungs only."""
    scene, told = view.scene, {roster.site_id for roster, _ in view.own}
    for rung in scene.rules.ladder.rungs(view.site_id):
        if rung not in OF_APPLIANCES:
            continue
        for sites in scene.below(view.site_id, rung):
            near = [site.id for site in sites if site.id not in told]
            told.update(near)
            holders: list[Candidate] = []
            others: list[Candidate] = []
            for site_id in near:
                roster = scene.roster(site_id, view.client.version, view.scheme)
                bits = roster.shelf.stock(group.hashes).holders
                for box in roster.roomy.all:
                    (holders if box.bit & bits else others).append(box)
            for boxes in (holders, others if rung is Rung.SIBLING else ()):
                if boxes:
                    for box in by_rendezvous(group.name, boxes, _SALT, _HEAD, _CROWDED):
                        yield Placed(box, _RUNG_WHY[rung])


def _least_bad(view: View, group: Group, *, everything: bool) -> list[Placed]:
    """Own appliances that were left out and come back: when there is nobody else the alive ones, and when there are none of
    those either the suspects. Suspects that are doubted come back always."""
    alive = [placed for why in LEAST_BAD for placed in _left_out(view, group, why)] if everything else []
    suspects = _left_out(view, group, Why.SUSPECT)
    if alive or not everything:
        suspects = [placed for placed in suspects if placed.candidate.id in view.scene.world.doubted]
    return alive + suspects


def _left_out(view: View, group: Group, problem: Why) -> list[Placed]:
    why = Why.SUSPECT_LAST if problem is Why.SUSPECT else problem
    out = [(roster, boxes_of([box for box in roster.candidates if box.problem is problem])) for roster, _ in view.own]
    ranked = (in_kinds(roster, boxes, group, view.client_name) for roster, boxes in out)
    return [Placed(placed.candidate, why) for its in ranked for placed in its]


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
    if len(request.files) > MOST_FILES:
        errors.append(f"files: {len(request.files)} are more than {MOST_FILES}; ask in several requests")
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
        if len(known) > 1:
            known.sort(key=_site_rank)
        for site, _ in known:
            found.setdefault(site.id, match)
    return list(found.items())


def _site_rank(pair: tuple[Site, Announcement]) -> tuple[int, int, int, str]:
    site, announcement = pair
    return (_ATTACHMENT_RANK[site.attachment], announcement.as_path_length, announcement.med, site.id)


def _by_scheme(places: Iterable[tuple[str, str]], scheme: str, why: Why) -> list[Choice]:
    """Choices of (url, name), those of the scheme first, then by name."""

    def key(place: tuple[str, str]) -> tuple[bool, str]:
        return (urlsplit(place[0]).scheme != scheme, place[1])

    return [Choice("", "", url, why) for url, _ in sorted(places, key=key)]


def _choice(placed: Placed) -> Choice:
    candidate = placed.candidate
    return Choice(candidate.id, candidate.appliance.site_id, candidate.url, placed.why)
