"""All sources of routes, and what each site is known by: the best of what its sources say (DESIGN §5).

Of one prefix at one site the shortest AS path stands, then the lowest MED. Every function that changes something gives back the
changes that others must hear of, in lines of LINE_PREFIXES, without a number; the change log numbers them. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from contracts.places import Prefix
from contracts.routes import Route, RoutePolicy, RouteReport, SourceKind
from contracts.world import Change, SiteRoutes
from control_plane.routes import sessions
from control_plane.routes.admission import Judged
from control_plane.routes.sessions import Source, Step

LINE_PREFIXES = 500
"""In one line of the change stream: readers apply a line at a time, and answer nobody meanwhile."""
UNNUMBERED = 0
EVERY_SOURCE = ""
"""Names the policy of a site's sources that have none of their own."""
NO_POLICY = RoutePolicy()
Changes = tuple[Change, ...]


class Table(NamedTuple):
    """What a site is known by is one table, what is only guessed another."""

    site_id: str
    guessed: bool


class RouteBook:
    """The record of routes in memory."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.policies: dict[tuple[str, str], RoutePolicy] = {}
        """By site and source name (EVERY_SOURCE for all others)."""
        self._known: dict[Table, dict[str, Prefix]] = {}

    def known(self, site_id: str, *, guessed: bool = False) -> Mapping[str, Prefix]:
        """What the site is known by, beside the prefixes of its record."""
        return self._known.get(Table(site_id, guessed), {})

    def at_site(self, site_id: str) -> list[Source]:
        return [source for source in self.sources.values() if source.site_id == site_id]

    def snapshot(self) -> Iterator[Change]:
        for table, known in sorted(self._known.items()):
            yield from _lines(table, list(known.values()), [], full=True)

    def session(self, appliance_id: str, site_id: str, name: str) -> Source:
        """The source of an appliance's session: the one in the book, or a new one that is not in it yet."""
        return self.sources.get(session_id(appliance_id, name)) or Source(
            session_id(appliance_id, name),
            site_id,
            SourceKind.BGP,
            name,
            appliance_id,
            self.policy_of(site_id, f"{appliance_id}/{name}"),
        )

    def imported(self, site_id: str, name: str, kind: SourceKind) -> Source:
        """The source of an import, likewise."""
        known = self.sources.get(import_id(site_id, name))
        if known is not None and known.kind is kind:
            return known
        return Source(import_id(site_id, name), site_id, kind, name, policy=self.policy_of(site_id, name))

    def policy_of(self, site_id: str, name: str) -> RoutePolicy:
        return self.policies.get((site_id, name)) or self.policies.get((site_id, EVERY_SOURCE)) or NO_POLICY

    def put(self, source: Source) -> Changes:
        """Takes a source in, with all it has; one of the same id goes first."""
        gone = self.drop(source.id)
        self.sources[source.id] = source
        return (*gone, *self._refresh(Table(source.site_id, source.guessed), source.taken))

    def drop(self, source_id: str) -> Changes:
        source = self.sources.pop(source_id, None)
        return self._refresh(Table(source.site_id, source.guessed), source.taken) if source is not None else ()

    def drop_box(self, appliance_id: str) -> Changes:
        mine = [source.id for source in self.sources.values() if source.appliance_id == appliance_id]
        return tuple(change for source_id in mine for change in self.drop(source_id))

    def drop_site(self, site_id: str) -> Changes:
        """All sources and policies of the site."""
        self.policies = {place: policy for place, policy in self.policies.items() if place[0] != site_id}
        mine = [source.id for source in self.at_site(site_id)]
        told = tuple(change for source_id in mine for change in self.drop(source_id))
        for guessed in (False, True):
            self._known.pop(Table(site_id, guessed), None)
        return told

    def take(self, source: Source, step: Step, judged: Judged, state: str, now_s: float, now: float) -> Changes:
        self.sources.setdefault(source.id, source)
        return self._refresh(
            Table(source.site_id, source.guessed), sessions.take(source, step, judged, state, now_s, now)
        )

    def lose(self, source: Source, report: RouteReport, now_s: float, now: float) -> None:
        self.sources.setdefault(source.id, source)
        sessions.lose(source, report, now_s, now)

    def over(self, source: Source, now: float) -> None:
        self.sources.setdefault(source.id, source)
        sessions.over(source, now)

    def rejudge(self, source: Source, judged: Judged) -> Changes:
        return self._refresh(Table(source.site_id, source.guessed), sessions.rejudge(source, judged))

    def pass_time(self, hold_s: float, now_s: float, now: float) -> Changes:
        told: list[Change] = []
        for source in self.sources.values():
            touched = sessions.pass_time(source, hold_s, now_s, now)
            told += self._refresh(Table(source.site_id, source.guessed), touched)
        return tuple(told)

    def put_policy(self, site_id: str, name: str, policy: RoutePolicy | None) -> list[Source]:
        """Sets or removes a policy; gives the sources that have another one now and must be judged anew."""
        if policy is None:
            self.policies.pop((site_id, name), None)
        else:
            self.policies[site_id, name] = policy
        changed = []
        for source in self.at_site(site_id):
            now = self.policy_of(site_id, policy_name(source))
            if now != source.policy:
                source.policy = now
                changed.append(source)
        return changed

    def _refresh(self, table: Table, cidrs: Iterable[str]) -> Changes:
        known = self._known.setdefault(table, {})
        sources = [source for source in self.at_site(table.site_id) if source.guessed == table.guessed]
        announced: list[Prefix] = []
        withdrawn: list[str] = []
        for cidr in cidrs:
            best = _best(cidr, sources)
            if best is None:
                if known.pop(cidr, None) is not None:
                    withdrawn.append(cidr)
            elif known.get(cidr) != best:
                known[cidr] = best
                announced.append(best)
        return tuple(_lines(table, announced, withdrawn, full=False))


def session_id(appliance_id: str, name: str) -> str:
    return f"{appliance_id}/{name}"


def import_id(site_id: str, name: str) -> str:
    return f"{site_id}:{name}"


def policy_name(source: Source) -> str:
    """What the source is called in a policy of its site."""
    return source.id if source.appliance_id else source.name


def path_length(route: Route) -> int:
    """At least 1: a route of the ISP's own is no nearer than one that an operator typed."""
    return max(1, len(route.as_path))


def _best(cidr: str, sources: Iterable[Source]) -> Prefix | None:
    routes = [source.taken[cidr] for source in sources if cidr in source.taken]
    ranks = [(path_length(route), route.med) for route in routes]
    return Prefix(cidr, *min(ranks)) if ranks else None


def _lines(table: Table, announced: list[Prefix], withdrawn: list[str], *, full: bool) -> Iterator[Change]:
    for start in range(0, len(announced), LINE_PREFIXES):
        part = tuple(announced[start : start + LINE_PREFIXES])
        yield Change(UNNUMBERED, routes=SiteRoutes(table.site_id, full and start == 0, part, (), table.guessed))
    for start in range(0, len(withdrawn), LINE_PREFIXES):
        gone = tuple(withdrawn[start : start + LINE_PREFIXES])
        yield Change(UNNUMBERED, routes=SiteRoutes(table.site_id, False, (), gone, table.guessed))
