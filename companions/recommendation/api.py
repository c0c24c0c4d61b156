"""The addresses of recommendation."""

from __future__ import annotations

import msgspec
from prometheus_client import Counter

from chassis.auth import Guard
from chassis.errors import ProblemError
from chassis.routes import Answer, Call, Routes
from companions.recommendation.rows import Shape, build
from companions.recommendation.sources import Sources
from contracts.members import AccessClaims
from contracts.problems import ProblemCode
from contracts.viewing import Home


class HomeQuery(msgspec.Struct, frozen=True):
    profile_id: str


class RecommendationApi:
    def __init__(self, sources: Sources, shape: Shape, degraded: Counter) -> None:
        self._sources = sources
        self._shape = shape
        self._degraded = degraded

    def routes(self, member: Guard) -> Routes:
        made = Routes("Recommendation")
        made.get("/v1/home", self.home, summary="The rows of a profile's home page", guard=member)
        return made

    async def home(self, call: Call[None, HomeQuery]) -> Answer[Home]:
        """Always an answer: what could not be asked is named in `degraded` and stood in for by what was known last."""
        claims, profile_id = call.who(AccessClaims), call.query.profile_id
        if profile_id not in claims.profiles:
            raise ProblemError(ProblemCode.FORBIDDEN, f"profile {profile_id[:60]!r} is not one of this account")
        authorization = call.request.headers["Authorization"]
        gathered = await self._sources.gather(claims.region, profile_id, authorization)
        for name in gathered.degraded:
            self._degraded.labels(name).inc()
        home = Home(build(gathered.tastes, self._shape), gathered.degraded)
        return Answer(home, headers={"Cache-Control": "private, no-store"})
