"""What was handed out and no report shows yet: load that this process adds to what appliances tell. Pure.

A play takes some seconds to become egress, and its egress some more to be told, in steps of a twentieth (control_plane.health).
Until then every decision would find the same box as empty as before. So each answer reserves, at the first choice of each of its
groups, an equal part of `play_bps`.

Laws
- What is told as more load than before is taken from the reservation: it has arrived.
- The rest fades with the time constant `fade_s`: plays that never began, or went to another choice, block nobody for long.
- A reservation is never negative, and a box that tells less load keeps its own.

Several steering processes each know only what they gave themselves. With `processes` that share the plays evenly, each takes
its own to stand for the others' too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from contracts.places import Appliance
from contracts.world import Health, Ranking

LEAST = 1e-5
"""Shares of an appliance's egress below this are forgotten."""


@dataclass(frozen=True, slots=True)
class ReservationRules:
    """`play_bps` is what a play takes on average, in bits per second."""

    play_bps: float = 5_000_000.0
    fade_s: float = 20.0
    processes: int = 1


class Reservations:
    """What one process gave. `give` is called for each answer, `fold` now and then."""

    def __init__(self, rules: ReservationRules, now_s: float) -> None:
        self._rules = rules
        self._new_bps: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._folded_s = now_s

    def give(self, ranking: Ranking) -> None:
        """Reserves for one play at the first choices of its groups."""
        self.move([group.choices[0].appliance_id for group in ranking.groups])

    def move(self, to: Sequence[str]) -> None:
        """Reserves for one play, in equal parts, at appliances; an empty id is none."""
        each = self._rules.play_bps * self._rules.processes / max(1, len(to))
        new = self._new_bps
        for name in to:
            if name:
                new[name] = new.get(name, 0.0) + each

    def fold(
        self, appliances: Mapping[str, Appliance], health: Mapping[str, Health], now_s: float
    ) -> Mapping[str, float]:
        """Load that is given and not told, by appliance, as shares of its egress. Appliances that are gone are forgotten."""
        kept = exp(-max(0.0, now_s - self._folded_s) / self._rules.fade_s)
        held: dict[str, float] = {}
        for name, load in self._held.items():
            told = health.get(name)
            if told is not None:
                left = load * kept - max(0.0, told.load - self._told.get(name, told.load))
                if left >= LEAST and name in appliances:
                    held[name] = left
        for name, bps in self._new_bps.items():
            box = appliances.get(name)
            if box is not None and box.egress_bps > 0:
                held[name] = held.get(name, 0.0) + bps / box.egress_bps
        self._told = {name: told.load for name, told in health.items()}
        self._held, self._new_bps, self._folded_s = held, {}, now_s
        return dict(held)
