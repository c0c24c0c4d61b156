"""What the demo measured, and the checks drawn from it. Pure: facts in, sentences out.

A byte counts as inside when it reached a player without crossing its network's border at that moment: outside are the bytes that
appliances fetched from a tier or the origin because a player asked, and the bytes players got from the origin directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.overview import Overview, ServedBySource, SiteOverview
from contracts.plans import PlacementExplanation, Reason
from contracts.reports import Source
from player.fetching import Attempt
from player.playing import PlayReport

FILL_SLACK = 1.05


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Requests and bytes by where the bytes came from."""

    source: str
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SiteServing:
    """One site over one evening. `delivered_bytes` is what its players received, from anywhere."""

    site_id: str
    delivered_bytes: int
    delivered_requests: int
    fetched: tuple[SourceRow, ...]
    """What its appliances fetched because a player asked, by source."""
    direct_origin_bytes: int
    direct_origin_requests: int
    hit_requests: int
    """Requests of players that its appliances answered without asking anybody."""

    @property
    def outside_bytes(self) -> int:
        far = {Source.TIER.value, Source.ORIGIN.value}
        return self.direct_origin_bytes + sum(row.bytes for row in self.fetched if row.source in far)

    @property
    def inside_share(self) -> float:
        return 1 - self.outside_bytes / self.delivered_bytes if self.delivered_bytes else 0.0


def serving(site_id: str, before: Overview, after: Overview, attempts: Sequence[Attempt], origin: str) -> SiteServing:
    """One site's evening from its counters before and after and from what its players saw. `origin`: host:port."""
    earlier = {row.source: row for row in _site(before, site_id).served}
    rows = tuple(
        SourceRow(
            row.source.value,
            row.client_requests - earlier.get(row.source, ServedBySource(row.source)).client_requests,
            row.client_bytes - earlier.get(row.source, ServedBySource(row.source)).client_bytes,
        )
        for row in _site(after, site_id).served
        if row.source is not Source.HIT
    )
    direct = [attempt for attempt in attempts if attempt.host == origin]
    return SiteServing(
        site_id,
        sum(attempt.got_bytes for attempt in attempts),
        len(attempts),
        rows,
        sum(attempt.got_bytes for attempt in direct),
        len(direct),
        _hits(after, site_id) - _hits(before, site_id),
    )


def _site(overview: Overview, site_id: str) -> SiteOverview:
    return next(entry for entry in overview.sites if entry.site.id == site_id)


def _hits(overview: Overview, site_id: str) -> int:
    here = [entry for entry in overview.appliances if entry.appliance.site_id == site_id]
    return sum(entry.client_requests - entry.content_misses for entry in here)


def inside_share(sites: Iterable[SiteServing]) -> float:
    """Of all sites together."""
    all_sites = list(sites)
    delivered = sum(site.delivered_bytes for site in all_sites)
    return 1 - sum(site.outside_bytes for site in all_sites) / delivered if delivered else 0.0


def by_source(sites: Iterable[SiteServing]) -> list[SourceRow]:
    """The table of the evening. Bytes of hits are what appliances delivered and did not fetch for it; requests to peers, tiers
    and the origin are the appliances' own, those that found nothing included."""
    rows: dict[str, SourceRow] = {}
    all_sites = list(sites)
    for row in (row for site in all_sites for row in site.fetched):
        known = rows.get(row.source, SourceRow(row.source, 0, 0))
        rows[row.source] = SourceRow(row.source, known.requests + row.requests, known.bytes + row.bytes)
    direct = SourceRow(
        "origin, directly",
        sum(site.direct_origin_requests for site in all_sites),
        sum(site.direct_origin_bytes for site in all_sites),
    )
    elsewhere = [*rows.values(), direct]
    hits = SourceRow(
        "appliance hit",
        sum(site.hit_requests for site in all_sites),
        max(0, sum(site.delivered_bytes for site in all_sites) - sum(row.bytes for row in elsewhere)),
    )
    return [hits, *elsewhere]


@dataclass(frozen=True, slots=True)
class SiteFill:
    """What a site fetched by order, and the unique bytes it holds for it."""

    site_id: str
    outside_bytes: int
    near_bytes: int
    unique_bytes: int
    tier_bytes: int = 0
    """Of the bytes from outside, those that another site's appliances gave."""
    second_bytes: int = 0
    """Planned: second copies of what the site holds, which must come from beside it."""
    shared_bytes: int = 0
    """Planned: what a tier site holds too, which it gives instead of the origin."""


def fills(overview: Overview, explanations: Sequence[PlacementExplanation]) -> list[SiteFill]:
    tiers = {site.site.id for site in overview.sites if site.site.is_tier}
    found = []
    for site in overview.sites:
        fetched = {row.source: row.fill_bytes for row in site.served}
        here = [e for e in explanations if e.site_id == site.site.id and e.appliances]
        in_tiers = {e.key for e in explanations if e.site_id in tiers - {site.site.id} and e.appliances}
        found.append(
            SiteFill(
                site.site.id,
                fetched.get(Source.TIER, 0) + fetched.get(Source.ORIGIN, 0),
                fetched.get(Source.PEER, 0),
                sum(e.size_bytes for e in here),
                fetched.get(Source.TIER, 0),
                sum(e.size_bytes * (len(e.appliances) - 1) for e in here),
                sum(e.size_bytes for e in here if e.key in in_tiers),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the demo asserts."""

    name: str
    holds: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks are drawn from."""

    explanations: tuple[PlacementExplanation, ...]
    catalogue_bytes: int
    quotas: Mapping[str, int]
    site_fills: tuple[SiteFill, ...]
    content_misses: int
    evictions: int
    planned_inside: float
    unplanned_inside: float
    digest_mismatches: tuple[str, ...]
    digests_compared: int
    plays: tuple[PlayReport, ...]
    killed_hosts: tuple[str, ...]
    killed_at_s: float
    resumed_at_s: float
    left_at_s: float


def checks(evidence: Evidence) -> list[Check]:
    """Every promise of the demo, each with the figures that decide it."""
    unplaced = {
        e.key for e in evidence.explanations if e.reason in (Reason.DISK_FULL, Reason.WINDOW_FULL) and not e.appliances
    }
    too_large = [name for name, quota in evidence.quotas.items() if quota > 0.4 * evidence.catalogue_bytes]
    failed = [play for play in evidence.plays if play.failure]
    hit = plays_on(evidence.killed_hosts, evidence.killed_at_s, evidence.plays)
    unproven = [play.title for play in evidence.plays if play.checked_bytes < play.received_bytes]
    return [
        Check(
            "no appliance can hold more than 40 % of the catalogue", not too_large, f"too large: {too_large or 'none'}"
        ),
        Check(
            "a file was deliberately not placed",
            bool(unplaced),
            f"{len(unplaced)} files were left out for want of space",
        ),
        Check("a content miss happened", evidence.content_misses >= 1, f"{evidence.content_misses} content misses"),
        Check("an eviction happened", evidence.evictions >= 1, f"{evidence.evictions} evictions"),
        *(fill_check(fill) for fill in evidence.site_fills),
        near_check(
            "second copies came from the peer beside them",
            [(fill.site_id, fill.near_bytes, fill.second_bytes) for fill in evidence.site_fills],
        ),
        near_check(
            "what a tier holds came from there and not from the origin",
            [(fill.site_id, fill.tier_bytes, fill.shared_bytes) for fill in evidence.site_fills],
        ),
        Check(
            "more is served inside with the planner than without",
            evidence.planned_inside > evidence.unplanned_inside,
            f"{evidence.planned_inside:.1%} with, {evidence.unplanned_inside:.1%} without",
        ),
        Check(
            "published digests equal those of the packaged files",
            evidence.digests_compared > 0 and not evidence.digest_mismatches,
            f"{evidence.digests_compared} compared, wrong: {', '.join(evidence.digest_mismatches) or 'none'}",
        ),
        Check(
            "every play reached its end", not failed, "; ".join(f"{p.title}: {p.failure}" for p in failed) or "all did"
        ),
        Check("every byte received was proven by a digest", not unproven, f"not proven: {unproven or 'none'}"),
        Check(
            "plays on the killed appliance went on elsewhere",
            bool(hit) and not any(play.failure for play in hit),
            f"{len(hit)} plays were on it when it was killed, {sum(not play.failure for play in hit)} went on",
        ),
        Check(
            "a second device resumed where the first had left",
            evidence.left_at_s > 0 and abs(evidence.resumed_at_s - evidence.left_at_s) <= 5.0,
            f"left at {evidence.left_at_s:.1f} s, resumed at {evidence.resumed_at_s:.1f} s",
        ),
    ]


def fill_check(fill: SiteFill) -> Check:
    limit = FILL_SLACK * fill.unique_bytes
    return Check(
        f"site {fill.site_id} fetched each byte once from outside",
        0 < fill.outside_bytes <= limit,
        f"{fill.outside_bytes:,} bytes fetched from outside for {fill.unique_bytes:,} unique bytes held",
    )


def near_check(name: str, fills: Sequence[tuple[str, int, int]]) -> Check:
    """`fills`: (site, bytes that came from near, bytes that should). A twentieth may have come from farther away."""
    wanted = [(site, came, should) for site, came, should in fills if should]
    holds = bool(wanted) and all(came * FILL_SLACK >= should for _, came, should in wanted)
    words = ", ".join(f"site {site} {came:,} of {should:,} bytes" for site, came, should in wanted)
    return Check(name, holds, words or "the plan asked for none")


def plays_on(hosts: Sequence[str], at_s: float, plays: Sequence[PlayReport]) -> list[PlayReport]:
    """Plays that got bytes from one of `hosts` before `at_s` and were still going on then."""
    return [
        play
        for play in plays
        if any(a.host in hosts and a.got_bytes and a.at_s <= at_s for a in play.attempts)
        and any(a.at_s + a.took_s > at_s for a in play.attempts)
    ]
