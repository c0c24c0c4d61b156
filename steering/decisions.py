"""The running side of ranking: the scene of now, and what each decision leaves to the next.

The pure parts are `ranking` (a decision), `standing` (how loaded everybody is taken to be) and `reservations` (what was handed out).
Here they meet the clock. What was handed out enters the standings every FOLD_S; what the control plane tells enters the next decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from chassis.clock import Clock
from contracts.world import RankExplanation, RankRequest
from steering.candidates import Rules, Scene
from steering.explaining import explain_in
from steering.feed import State
from steering.ranking import Ranked, ranked_in
from steering.reservations import ReservationRules, Reservations
from steering.standing import Memory, remember

FOLD_S = 0.25
"""Looking at 1,000 appliances takes 3 to 5 ms of CPU (median, with none to 10,000 plays/s handed out, on a machine that was busy; 4 to 7 ms at the
ninetieth percentile): one to two hundredths of the time at this pace."""


LOOK_S = 1.0


class Decisions:
    """Ranks over the current world and remembers what it gave."""

    def __init__(self, state: State, rules: Rules, reserving: ReservationRules, clock: Clock) -> None:
        self._state = state
        self._rules = rules
        self._clock = clock
        now_s = clock.monotonic_s()
        self._reservations = Reservations(reserving, now_s)
        self._memory = Memory()
        self._folded_s = float("-inf")
        self._scene = Scene(state.world, rules)

    def rank(self, request: RankRequest) -> Ranked:
        """The ranking, which is taken to be handed out. Raises what `ranking.rank` raises."""
        ranked = ranked_in(self.scene(), request)
        self._reservations.give(ranked.ranking)
        return ranked

    def reserve(self, appliance_ids: Sequence[str]) -> None:
        """A running session was moved to these, in equal parts."""
        self._reservations.move(appliance_ids)

    def explain(self, request: RankRequest) -> RankExplanation:
        """What `rank` would answer now, and why. Nothing is handed out. Raises what `ranking.rank` raises."""
        return explain_in(self.scene(), request)

    def scene(self) -> Scene:
        """The scene of now."""
        now_s = self._clock.monotonic_s()
        world = self._state.world
        if now_s - self._folded_s >= FOLD_S:
            given = self._reservations.fold(world.appliances, world.health, now_s)
            self._memory = remember(self._memory, world, given, now_s, self._rules.loads)
            self._folded_s = now_s
        elif world is self._scene.world:
            return self._scene
        self._scene = self._scene.next(world, self._memory.standings)
        return self._scene

    async def run(self) -> None:
        """Looks every LOOK_S, so that who came back is seen to come back while nobody asks."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.scene()
