"""Every candidate's facts and why it stands where it stands or was left out (`/v1/explain`)."""

from __future__ import annotations

from contracts.world import CandidateFacts, RankExplanation, RankRequest, Why
from steering.candidates import DEFAULTS, Candidate, Rules, Scene
from steering.errors import RankError
from steering.ladder import OF_APPLIANCES, is_on
from steering.ranking import Group, Order, Placed, View, groups_of, look, order_of, rank_in
from steering.standing import Standings
from steering.world import World

MOST_EXPLAINED = 64
"""Groups: each is told with every appliance of the world."""
WORDS = {
    Why.HOLDS: "holds the file",
    Why.PLANNED: "is planned to hold the file and does not hold all of it yet",
    Why.RENDEZVOUS: "does not hold the file; misses for it go here",
    Why.OTHER_SITE: "is a tier of another site and holds the file",
    Why.SIBLING: "is of another site of the same ISP, which stands in for this one",
    Why.PEERING: "is at a peering and holds the file",
    Why.NEARLY_FULL: "is nearly full, so that everybody with room comes before it",
    Why.ORIGIN: "is the origin",
    Why.CDN: "is a commercial CDN",
    Why.SUSPECT_LAST: "is suspect, and better than nothing",
    Why.NOT_LIVE: "does not take new sessions",
    Why.SUSPECT: "is suspect: its heartbeats stopped",
    Why.NOT_SERVING: "says that it serves nobody now",
    Why.UNHEALTHY: "has too low a score",
    Why.OVERLOADED: "has no egress left",
    Why.SHEDDING: "is over capacity and refuses new sessions",
    Why.ADDRESS_FAMILY: "has no address that the client's family reaches",
    Why.SCHEME: "has no address of the wanted scheme",
    Why.NO_PREFIX: "announces no prefix that covers the client, and is on no rung of its ladder that would take it",
    Why.ENOUGH: "would do, and there are enough better ones",
    Why.SAME_FAILURE_DOMAIN: "would do, and a better one shares its failure domain",
}


def explain(
    world: World, request: RankRequest, rules: Rules = DEFAULTS, standings: Standings | None = None
) -> RankExplanation:
    """The ranking and, by group, every appliance of the world: those in the answer first, in its order.

    Raises what `rank` raises.
    """
    return explain_in(Scene(world, rules, standings), request)


def explain_in(scene: Scene, request: RankRequest) -> RankExplanation:
    """`explain` in a scene that is there already."""
    asked = len({file.group or file.key for file in request.files})
    if asked > MOST_EXPLAINED:
        raise RankError(f"files: {asked} groups are more than the {MOST_EXPLAINED} that are explained at once")
    ranking = rank_in(scene, request)
    view = look(scene, request)
    groups = groups_of(request.files)
    return RankExplanation(
        ranking, {group.name: _facts_of(view, order_of(view, group, whole=True), group) for group in groups}
    )


def _facts_of(view: View, order: Order, group: Group) -> tuple[CandidateFacts, ...]:
    prefixes = {roster.site_id: match.cidr for roster, match in view.own}
    facts = [_facts(p.candidate, group, n, p.why, prefixes) for n, p in enumerate(order.chosen)]
    domains = {placed.candidate.domain for placed in order.chosen}
    for placed in order.beyond:
        facts.append(_facts(placed.candidate, group, None, _why_beyond(placed, domains), prefixes))
    told = {fact.appliance_id for fact in facts}
    for appliance_id, appliance in sorted(view.scene.world.appliances.items()):
        if appliance_id in told:
            continue
        roster = view.scene.roster(appliance.site_id, view.client.version, view.scheme)
        candidate = next(box for box in roster.candidates if box.id == appliance_id)
        own = appliance.site_id in prefixes
        why = (candidate.problem or Why.ENOUGH) if own else _why_not_elsewhere(view, candidate, group)
        facts.append(_facts(candidate, group, None, why, prefixes))
    return tuple(facts)


def _why_beyond(placed: Placed, domains: set[tuple[str, str]]) -> Why:
    if placed.candidate.problem is not None:
        return placed.candidate.problem
    if placed.why is Why.NEARLY_FULL:
        return placed.why
    return Why.SAME_FAILURE_DOMAIN if placed.candidate.domain in domains else Why.ENOUGH


def _why_not_elsewhere(view: View, candidate: Candidate, group: Group) -> Why:
    scene = view.scene
    site, own = scene.world.sites.get(candidate.appliance.site_id), scene.world.sites.get(view.site_id)
    rungs = [rung for rung in scene.rules.ladder.rungs(view.site_id) if rung in OF_APPLIANCES]
    if site is None or not any(is_on(rung, site, own) for rung in rungs) or not _holds(candidate, group):
        return Why.NO_PREFIX
    return candidate.problem or (Why.NEARLY_FULL if candidate.standing.full else Why.ENOUGH)


def _facts(
    candidate: Candidate, group: Group, position: int | None, why: Why, prefixes: dict[str, str]
) -> CandidateFacts:
    standing = candidate.standing
    return CandidateFacts(
        appliance_id=candidate.id,
        site_id=candidate.appliance.site_id,
        position=position,
        why=why,
        matched_prefix=prefixes.get(candidate.appliance.site_id, ""),
        holds=_holds(candidate, group),
        planned=all(map(candidate.held.planned.has, group.hashes)),
        score=candidate.score,
        load=candidate.load,
        suspect=candidate.suspect,
        weight=candidate.head_weight,
        sentence=_sentence(candidate, position, why),
        crowded=standing.crowded,
        full=standing.full,
        ramp=standing.ramp,
    )


def _sentence(candidate: Candidate, position: int | None, why: Why) -> str:
    place = f"number {position + 1}" if position is not None else "left out"
    standing = candidate.standing
    facts = [f"score {candidate.score:.2f}", f"load {standing.load:.0%}"]
    if standing.crowded:
        facts.append("over its cluster's bound")
    if standing.ramp < 1.0:
        facts.append(f"back not long ago: counts for {standing.ramp:.0%}")
    return f"{candidate.id} is {place}: it {WORDS[why]} ({', '.join(facts)})."


def _holds(candidate: Candidate, group: Group) -> bool:
    return all(map(candidate.held.whole.has, group.hashes))
