"""When suspicion itself is suspect (DESIGN §6).

One appliance that falls silent has a problem; a fifth of a region that falls silent within ten seconds is our monitoring's
problem. Then the new suspects stay in the answers, ranked last. Laws: at least `LEAST_BOXES` in `LEAST_SITES` sites and more
than `SHARE` of the region's serving appliances, all of them new within `WINDOW_S` or doubted already; when so many have come
back that this no longer holds, those still suspect are believed to be gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.places import Appliance, ApplianceState
from steering.world import World

SHARE = 0.2
LEAST_BOXES = 3
LEAST_SITES = 2
WINDOW_S = 10.0
SERVING = frozenset({ApplianceState.LIVE, ApplianceState.DRAINING})


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when each suspect is one (monotonic seconds), and whose suspicion is doubted."""

    since_s: Mapping[str, float] = field(default_factory=dict)
    doubted: frozenset[str] = frozenset()

    @property
    def monitoring_doubted(self) -> bool:
        return bool(self.doubted)


def observe(watch: Watch, world: World, now_s: float) -> Watch:
    """The watch after a look at the world. Call it whenever a suspicion began or ended, or appliances changed."""
    serving: dict[str, list[Appliance]] = defaultdict(list)
    for appliance in world.appliances.values():
        if appliance.state in SERVING:
            serving[_region(world, appliance)].append(appliance)
    suspects = {name for name, health in world.health.items() if health.suspect and name in world.appliances}
    since_s = {name: watch.since_s.get(name, now_s) for name in sorted(suspects)}
    doubted: set[str] = set()
    for boxes in serving.values():
        fresh = [
            box
            for box in boxes
            if box.id in suspects and (now_s - since_s[box.id] <= WINDOW_S or box.id in watch.doubted)
        ]
        if _is_mass(fresh, len(boxes)):
            doubted |= {box.id for box in fresh}
    return Watch(since_s, frozenset(doubted))


def _is_mass(fresh: list[Appliance], serving: int) -> bool:
    many = len(fresh) >= LEAST_BOXES and len(fresh) > SHARE * serving
    return many and len({box.site_id for box in fresh}) >= LEAST_SITES


def _region(world: World, appliance: Appliance) -> str:
    site = world.sites.get(appliance.site_id)
    return site.region if site else ""
