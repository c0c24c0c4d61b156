"""What steering answers: rankings, explanations, the world in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Call, Routes
from contracts.problems import ProblemCode
from contracts.world import Announcer, Covering, CoveringPrefix, RankExplanation, Ranking, RankRequest, Why, WorldFacts
from steering.decided import Recorder
from steering.decisions import Decisions
from steering.errors import NothingKnown, RankError
from steering.feed import State
from steering.journal import Journal
from steering.metrics import SteeringMetrics
from steering.plays import Tally
from steering.prefixes import Match, parse_address
from steering.sessions_api import Sessions, add_to

RETRY_AFTER_S = 1.0
RANK_PATH = "/v1/rank"
_DECODER = msgspec.json.Decoder(RankRequest)
_ENCODER = msgspec.json.Encoder()


class ClientQuery(msgspec.Struct, frozen=True):
    """`client`: the IP address of a player."""

    client: str


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where decisions are kept, how they become lines, and what they come to by the hour."""

    journal: Journal
    recorder: Recorder
    tally: Tally


class Api:
    """The handlers over one state. Decisions are kept where there is a `keeping`."""

    def __init__(
        self,
        state: State,
        decisions: Decisions,
        metrics: SteeringMetrics,
        clock: Clock,
        sessions: Sessions,
        keeping: Keeping | None = None,
    ) -> None:
        self._state = state
        self._decisions = decisions
        self._metrics = metrics
        self._clock = clock
        self._sessions = sessions
        self._keeping = keeping
        self._first_choices = {why: metrics.first_choices.labels(why.value) for why in Why}

    async def rank(self, call: Call[RankRequest]) -> Ranking:
        try:
            return self.decide(call.body)
        except (RankError, NothingKnown) as error:
            raise self._refusal(error) from error

    def answer(self, body: bytes) -> bytes | None:
        """The body of the answer to a request of `/v1/rank`; None when it is to be refused."""
        try:
            return _ENCODER.encode(self.decide(_DECODER.decode(body)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RankError, NothingKnown):
            return None

    def decide(self, request: RankRequest) -> Ranking:
        """A ranking that is handed out, counted and kept. Raises RankError and NothingKnown."""
        started_s = self._clock.monotonic_s()
        ranked = self._decisions.rank(request)
        self._metrics.decision_seconds.observe(self._clock.monotonic_s() - started_s)
        for group in ranked.ranking.groups:
            self._first_choices[group.choices[0].why].inc()
        if self._keeping is not None:
            now_s = self._clock.wall_s()
            self._keeping.journal.add(request.play, self._keeping.recorder.line(request, ranked, now_s))
            self._keeping.tally.add(now_s, ranked)
        steering = self._sessions.address(request, ranked.ranking)
        return replace(ranked.ranking, steering=steering) if steering else ranked.ranking

    async def explain(self, call: Call[RankRequest]) -> RankExplanation:
        try:
            return self._decisions.explain(call.body)
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
            prefixes=len(world.prefixes),
            guessed=len(world.guesses),
        )

    async def covering(self, call: Call[None, ClientQuery]) -> Covering:
        world = self._state.world
        try:
            address = parse_address(call.query.client)
        except ValueError as error:
            raise self._refusal(RankError(f"client: {call.query.client!r} is no IP address")) from error
        announced = [_shown(match, guessed=False) for match in world.prefixes.covering(address)]
        guessed = [_shown(match, guessed=True) for match in world.guesses.covering(address)]
        return Covering(str(address), world.number, (*announced, *guessed))

    def _refusal(self, error: RankError | NothingKnown) -> ProblemError:
        self._metrics.refused.inc()
        if isinstance(error, RankError):
            return ProblemError(ProblemCode.UNPROCESSABLE, str(error), errors=error.errors)
        return ProblemError(ProblemCode.UNAVAILABLE, str(error), retry_after_s=RETRY_AFTER_S)


def routes_of(api: Api, sessions: Sessions) -> Routes:
    routes = Routes("Lowtide steering")
    routes.post(RANK_PATH, api.rank, summary="Rank appliances for a client and files, best first, the origin last")
    routes.post(
        "/v1/explain", api.explain, summary="The same ranking with every appliance's facts and why it stands there"
    )
    routes.get("/v1/world", api.world, summary="What steering knows, in numbers, and whether it is kept up")
    routes.get("/v1/routes", api.covering, summary="The prefixes that cover an address, and which sites announce them")
    add_to(routes, sessions)
    return routes


def _shown(match: Match, *, guessed: bool) -> CoveringPrefix:
    announcers = tuple(Announcer(a.site_id, a.as_path_length, a.med, a.by_hand) for a in match.announcements)
    return CoveringPrefix(match.cidr, announcers, guessed)
