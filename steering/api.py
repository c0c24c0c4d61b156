"""What steering answers: rankings, explanations, the world in numbers."""

from __future__ import annotations

from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Call, Routes
from contracts.problems import ProblemCode
from contracts.world import RankExplanation, Ranking, RankRequest, WorldFacts
from steering.errors import NothingKnown, RankError
from steering.explaining import explain
from steering.feed import State
from steering.metrics import SteeringMetrics
from steering.ranking import Rules, rank

RETRY_AFTER_S = 1.0


class Api:
    """The handlers over one state."""

    def __init__(self, state: State, rules: Rules, metrics: SteeringMetrics, clock: Clock) -> None:
        self._state = state
        self._rules = rules
        self._metrics = metrics
        self._clock = clock

    async def rank(self, call: Call[RankRequest]) -> Ranking:
        started_s = self._clock.monotonic_s()
        try:
            ranking = rank(self._state.world, call.body, self._rules)
        except (RankError, NothingKnown) as error:
            raise self._refusal(error) from error
        self._metrics.decision_seconds.observe(self._clock.monotonic_s() - started_s)
        for group in ranking.groups:
            self._metrics.first_choices.labels(group.choices[0].why.value).inc()
        return ranking

    async def explain(self, call: Call[RankRequest]) -> RankExplanation:
        try:
            return explain(self._state.world, call.body, self._rules)
        except (RankError, NothingKnown) as error:
            raise self._refusal(error) from error

    async def world(self, call: Call[None]) -> WorldFacts:
        world = self._state.world
        return WorldFacts(
            number=world.number,
            live=self._state.live,
            sites=len(world.sites),
            appliances=len(world.appliances),
            origins=len(world.origins),
            held_files=sum(len(held.whole) for held in world.holdings.values()),
            suspects=tuple(sorted(name for name, health in world.health.items() if health.suspect)),
            doubted=tuple(sorted(world.doubted)),
            quarantined=world.quarantined,
        )

    def _refusal(self, error: RankError | NothingKnown) -> ProblemError:
        self._metrics.refused.inc()
        if isinstance(error, RankError):
            return ProblemError(ProblemCode.UNPROCESSABLE, str(error), errors=error.errors)
        return ProblemError(ProblemCode.UNAVAILABLE, str(error), retry_after_s=RETRY_AFTER_S)


def routes_of(api: Api) -> Routes:
    routes = Routes("Lowtide steering")
    routes.post("/v1/rank", api.rank, summary="Rank appliances for a client and files, best first, the origin last")
    routes.post(
        "/v1/explain", api.explain, summary="The same ranking with every appliance's facts and why it stands there"
    )
    routes.get("/v1/world", api.world, summary="What steering knows, in numbers, and whether it is kept up")
    return routes
