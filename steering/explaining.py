"""Every candidate's facts and why it stands where it stands or was left out (`/v1/explain`)."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.world import CandidateFacts, RankExplanation, RankRequest, Why
from steering.ranking import DEFAULTS, Candidate, Order, Rules, View, groups_of, judge, look, order_of, rank
from steering.world import World

_WORDS = {
    Why.HOLDS: "holds the file",
    Why.PLANNED: "is planned to hold the file and does not hold all of it yet",
    Why.RENDEZVOUS: "does not hold the file; misses for it go here",
    Why.OTHER_SITE: "is a tier of another site and holds the file",
    Why.SUSPECT_LAST: "is suspect, and better than nothing",
    Why.NOT_LIVE: "does not take new sessions",
    Why.SUSPECT: "is suspect: its heartbeats stopped",
    Why.NOT_SERVING: "says that it serves nobody now",
    Why.UNHEALTHY: "has too low a score",
    Why.OVERLOADED: "has no egress left",
    Why.SHEDDING: "is over capacity and refuses new sessions",
    Why.ADDRESS_FAMILY: "has no address that the client's family reaches",
    Why.SCHEME: "has no address of the wanted scheme",
    Why.NO_PREFIX: "announces no prefix that covers the client, and is no tier that holds the file",
    Why.ENOUGH: "would do, and there are enough better ones",
    Why.SAME_FAILURE_DOMAIN: "would do, and a better one shares its failure domain",
}


def explain(world: World, request: RankRequest, rules: Rules = DEFAULTS) -> RankExplanation:
    """The ranking and, by group, every appliance of the world: those in the answer first, in its order.

    Raises what `rank` raises.
    """
    view = look(world, request, rules)
    return RankExplanation(
        ranking=rank(world, request, rules),
        candidates={
            group: _facts_of(view, order_of(view, group, keys), keys) for group, keys in groups_of(request.files)
        },
    )


def _facts_of(view: View, order: Order, keys: Sequence[str]) -> tuple[CandidateFacts, ...]:
    facts = [_facts(p.candidate, keys, n, p.why) for n, p in enumerate(order.chosen)]
    domains = {placed.candidate.domain for placed in order.chosen}
    for placed in order.beyond:
        why = Why.SAME_FAILURE_DOMAIN if placed.candidate.domain in domains else Why.ENOUGH
        facts.append(_facts(placed.candidate, keys, None, placed.candidate.problem or why))
    told = {fact.appliance_id for fact in facts}
    own = {candidate.appliance.id: candidate for candidates in view.own for candidate in candidates}
    for appliance_id, appliance in sorted(view.world.appliances.items()):
        if appliance_id in told:
            continue
        candidate = own.get(appliance_id)
        if candidate is None:
            candidate = judge(view.world, appliance, None, view.client, view.scheme, view.rules)
            facts.append(_facts(candidate, keys, None, _why_not_elsewhere(view, candidate, keys)))
        else:
            facts.append(_facts(candidate, keys, None, candidate.problem or Why.ENOUGH))
    return tuple(facts)


def _why_not_elsewhere(view: View, candidate: Candidate, keys: Sequence[str]) -> Why:
    site = view.world.sites.get(candidate.appliance.site_id)
    is_holding_tier = site is not None and site.is_tier and all(key in candidate.held.whole for key in keys)
    return (candidate.problem or Why.ENOUGH) if is_holding_tier else Why.NO_PREFIX


def _facts(candidate: Candidate, keys: Sequence[str], position: int | None, why: Why) -> CandidateFacts:
    appliance = candidate.appliance
    place = f"number {position + 1}" if position is not None else "left out"
    return CandidateFacts(
        appliance_id=appliance.id,
        site_id=appliance.site_id,
        position=position,
        why=why,
        matched_prefix=candidate.match.cidr if candidate.match else "",
        holds=all(key in candidate.held.whole for key in keys),
        planned=all(key in candidate.held.planned for key in keys),
        score=candidate.score,
        load=candidate.load,
        suspect=candidate.suspect,
        weight=candidate.weight,
        sentence=f"{appliance.id} is {place}: it {_WORDS[why]} (score {candidate.score:.2f}, load {candidate.load:.0%}).",
    )
