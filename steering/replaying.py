"""Recorded decisions made again over a world with other rules. Pure.

The world gives sites, prefixes, addresses and holdings; what the log says of the client's own appliances at each decision (load, score,
what kept it out) stands in for what the world says of them. Clients are cut in the log, so that a replayed client is its network: that moves plays between
equal holders. Therefore both sides of a comparison are replayed, never held against the recorded answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts.decisions import BoxFacts, Decision
from contracts.world import Health, RankFile, RankRequest, Why
from steering.candidates import Rules, Scene
from steering.errors import NothingKnown
from steering.ranking import rank_in
from steering.world import World

SETTABLE = ("unhealthy_below", "overloaded_from", "load_factor", "spill_from")
"""Rules that a replay may change."""


@dataclass(slots=True)
class Outcome:
    """First choices of all groups: by reason, by site and appliance."""

    groups: int = 0
    unanswered: int = 0
    whys: Counter[Why] = field(default_factory=Counter)
    boxes: dict[str, Counter[str]] = field(default_factory=dict)
    firsts: list[str] = field(default_factory=list)

    def share(self, why: Why) -> float:
        return self.whys[why] / self.groups if self.groups else 0.0

    def hottest(self, site_id: str) -> float:
        """First choices of the busiest appliance of a site / the mean of those that got any."""
        counts = self.boxes.get(site_id, Counter())
        return max(counts.values()) * len(counts) / sum(counts.values()) if counts else 0.0


def changed(rules: Rules, settings: Mapping[str, float]) -> Rules:
    """The rules with other settings. Raises ValueError naming one that there is not."""
    unknown = sorted(set(settings) - set(SETTABLE))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: a replay can set {', '.join(SETTABLE)}")
    return replace(
        rules,
        unhealthy_below=settings.get("unhealthy_below", rules.unhealthy_below),
        overloaded_from=settings.get("overloaded_from", rules.overloaded_from),
        load_factor=settings.get("load_factor", rules.load_factor),
        spill_from=settings.get("spill_from", rules.spill_from),
    )


def replay(decisions: Iterable[Decision], world: World, rules: Rules) -> Outcome:
    """All rankings made again, in their order; moves of running sessions are left out."""
    return replays(decisions, world, (rules,))[0]


def replays(decisions: Iterable[Decision], world: World, all_rules: Sequence[Rules]) -> list[Outcome]:
    """The same with several rules at once: decisions are read once, and none is kept."""
    runs = [_Run(Scene(world, rules)) for rules in all_rules]
    for decision in decisions:
        if decision.steered:
            continue  # what a running session was given follows from more than a ranking
        believed = as_believed(world, decision)
        for run in runs:
            run.make_again(decision, believed)
    return [run.outcome for run in runs]


class _Run:
    """One replay under way."""

    def __init__(self, scene: Scene) -> None:
        self.outcome = Outcome()
        self._scene = scene

    def make_again(self, decision: Decision, believed: World) -> None:
        found = self.outcome
        files = tuple(RankFile(key, group.group) for group in decision.groups for key in group.keys)
        request = RankRequest(decision.client, files, decision.count, decision.scheme)
        found.groups += len(decision.groups)
        self._scene = self._scene.next(believed, {})
        try:
            ranking = rank_in(self._scene, request)
        except NothingKnown:
            found.unanswered += len(decision.groups)
            found.firsts += [""] * len(decision.groups)
            return
        for group in ranking.groups:
            first = group.choices[0]
            found.whys[first.why] += 1
            found.firsts.append(first.appliance_id)
            if first.appliance_id:
                found.boxes.setdefault(first.site_id, Counter())[first.appliance_id] += 1


def as_believed(world: World, decision: Decision) -> World:
    """The world with what was believed of the client's own appliances at a decision."""
    told = {box.id: _health(box) for boxes in decision.boxes.values() for box in boxes if box.id in world.appliances}
    return replace(world, health={**world.health, **told})


def _health(box: BoxFacts) -> Health:
    """Who was out for its state is out as a suspect here: the world may say by now that it is live."""
    out = {Why.SUSPECT.value, Why.NOT_LIVE.value}
    return Health(
        box.id,
        box.score,
        suspect=box.problem in out,
        serving=box.problem != Why.NOT_SERVING.value,
        load=box.load,
        shedding=box.problem == Why.SHEDDING.value,
    )
