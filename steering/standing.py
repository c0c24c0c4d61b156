"""How loaded an appliance is taken to be between two reports, and who starts slowly: what this process remembers. Pure.

A ranking is a function of the world and of these standings; the standings of the next moment are a function of those before, of
the world, of what was handed out since (`reservations`) and of the time. Nothing here changes once made.

Laws
- The believed load is the told one and what this process handed out that no report shows yet.
- Crowded: over `load_factor` × the mean of its cluster, and over BUSY_FROM. It ends CROWDED_MARGIN of the bound below it.
- Full: at `spill_from` or over. It ends FULL_MARGIN below, so that a box does not come and go with every report.
- What is left of a box counts in STEPS; a step is left only when the load has gone half a step beyond it.
- Who comes back (from suspicion, from not serving, from another state than live, or newly) counts for RAMP_FLOOR of itself at
  first and grows to all of itself within `slow_start_s`. What was well when this process began did not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from math import floor
from typing import NamedTuple

from contracts.places import Appliance, ApplianceState
from contracts.world import Health
from steering.world import World

BUSY_FROM = 0.3
CROWDED_MARGIN = 0.05
FULL_MARGIN = 0.05
STEPS = 32
RAMP_FLOOR = 0.1


@dataclass(frozen=True, slots=True)
class LoadRules:
    """The settings that loads are judged by (see steering.config for what they mean). Loads are shares of the whole egress."""

    unhealthy_below: float = 0.3
    load_factor: float = 1.2
    spill_from: float = 0.85
    slow_start_s: float = 60.0


class Standing(NamedTuple):
    """One appliance. `left` (0..1] is what is left of its capacity, in steps and never nothing; `ramp` (0..1] its slow start."""

    load: float = 0.0
    left: float = 1.0
    ramp: float = 1.0
    crowded: bool = False
    full: bool = False


Standings = Mapping[str, Standing]
"""By appliance id."""
UNKNOWN = Standing()


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one moment leaves to the next. Instants are monotonic seconds; `usable` is None before the first look."""

    standings: Standings = field(default_factory=dict)
    usable: frozenset[str] | None = None
    returned_s: Mapping[str, float] = field(default_factory=dict)


def remember(memory: Memory, world: World, given: Mapping[str, float], now_s: float, rules: LoadRules) -> Memory:
    """The memory after a look at the world. `given` is load by appliance that was handed out and is not told yet."""
    usable = frozenset(name for name, box in world.appliances.items() if is_usable(box, world.health.get(name), rules))
    new = usable - memory.usable if memory.usable is not None else frozenset()
    returned_s = {
        name: since
        for name, since in memory.returned_s.items()
        if name in usable and now_s - since < rules.slow_start_s
    }
    returned_s.update(dict.fromkeys(sorted(new), now_s))
    ramps = {name: ramp_of(now_s - since, rules.slow_start_s) for name, since in returned_s.items()}
    standings: dict[str, Standing] = {}
    for boxes in world.by_site.values():
        standings.update(settled(boxes, world.health, rules, memory.standings, given, ramps, usable))
    return Memory(standings, usable, returned_s)


def settled(
    boxes: Iterable[Appliance],
    health: Mapping[str, Health],
    rules: LoadRules,
    before: Standings,
    given: Mapping[str, float],
    ramps: Mapping[str, float],
    usable: Set[str],
) -> dict[str, Standing]:
    """The standings of one site's appliances, of which `usable` count for the means of their clusters.

    With nothing before, nothing given and no ramps: what the reports alone say.
    """
    clusters: dict[str, list[tuple[str, float]]] = {}
    for box in boxes:
        name, told = box.id, health.get(box.id)
        load = (told.load if told else 0.0) + given.get(name, 0.0)
        clusters.setdefault(box.manifest_cluster, []).append((name, load))
    found: dict[str, Standing] = {}
    for its in clusters.values():
        counted = [load for name, load in its if name in usable]
        bound = max(BUSY_FROM, rules.load_factor * (sum(counted) / len(counted) if counted else 0.0))
        for name, load in its:
            found[name] = _standing(before.get(name), load, bound, ramps.get(name, 1.0), rules)
    return found


def is_usable(box: Appliance, told: Health | None, rules: LoadRules) -> bool:
    """True for an appliance that is live, believed, serving and not too unwell; how loaded it is does not matter here."""
    return (
        box.state is ApplianceState.LIVE
        and told is not None
        and not told.suspect
        and told.serving
        and told.score >= rules.unhealthy_below
    )


def ramp_of(since_s: float, slow_start_s: float) -> float:
    """The share of itself that counts so long after its return."""
    return min(1.0, max(RAMP_FLOOR, since_s / slow_start_s))


def _standing(before: Standing | None, load: float, bound: float, ramp: float, rules: LoadRules) -> Standing:
    was_crowded, was_full = (before.crowded, before.full) if before else (False, False)
    made = Standing(
        load=round(load, 3),  # finer, every standing and with it every roster would be another at each look
        left=left_of(load, before.left if before else None),
        ramp=ramp,
        crowded=load > bound * (1.0 - CROWDED_MARGIN if was_crowded else 1.0),
        full=load >= rules.spill_from - (FULL_MARGIN if was_full else 0.0),
    )
    return before if made == before and before is not None else made


def left_of(load: float, before: float | None) -> float:
    """What is left at a load, in steps: the one before as long as the load is within half a step of it."""
    left = (1.0 - min(1.0, max(0.0, load))) * STEPS
    if before is not None:
        step = floor(before * STEPS + 1e-9)
        if step - 0.5 <= left < step + 1.5:
            return before
    return max(0.5, floor(left + 1e-9)) / STEPS
