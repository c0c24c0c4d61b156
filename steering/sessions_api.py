"""`GET /v1/steering/SESSION`: what players of running sessions are answered, and the address they are given first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Routes, json_response
from contracts.content_steering import PATH, STATE_FIELD, VERSION, SteeringManifest
from contracts.problems import ProblemCode
from contracts.world import Ranking, RankRequest
from steering.content_steering import go_on
from steering.metrics import SteeringMetrics
from steering.sessions import MOST_CHARS, Keys, NotSteered, Refused, Session, SessionRefused, opened

CONTENT_TYPE = "application/json"
_NO_STORE = {"Cache-Control": "no-store"}
_CODES = {
    Refused.MISSING: ProblemCode.BAD_QUERY,
    Refused.TOO_LONG: ProblemCode.URI_TOO_LONG,
    Refused.MALFORMED: ProblemCode.BAD_QUERY,
    Refused.NEWER: ProblemCode.BAD_QUERY,
    Refused.FORGED: ProblemCode.STEERING_STATE_INVALID,
    Refused.FOREIGN: ProblemCode.STEERING_STATE_INVALID,
    Refused.OVER: ProblemCode.STEERING_OVER,
}
"""Players ask again after any error but 410, which ends their asking (and after 429 they never ask again: it is never given)."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """`public_url` is where players reach this; empty takes what they asked. TTLs are seconds."""

    public_url: str
    ttl_s: int
    trouble_ttl_s: int


class Sessions:
    """Content steering of sessions. `keys` gives the keys of now."""

    def __init__(self, rules: SessionRules, keys: Callable[[], Keys], metrics: SteeringMetrics, clock: Clock) -> None:
        self._rules = rules
        self._keys = keys
        self._metrics = metrics
        self._clock = clock

    def address(self, request: RankRequest, ranking: Ranking) -> str:
        """Where the session's player asks first: path and query; empty for a session that is not steered."""
        session = opened(request, ranking, self._clock.wall_s())
        if isinstance(session, NotSteered):
            self._metrics.not_steered.labels(session.value).inc()
            return ""
        sealed = self._keys().seal(session)
        if len(sealed) > MOST_CHARS:
            self._metrics.not_steered.labels(NotSteered.TOO_LONG.value).inc()
            return ""
        return _path(session, sealed)

    async def steer(self, request: web.Request) -> web.Response:
        try:
            session = self._session(request)
        except SessionRefused as error:
            self._metrics.sessions_refused.labels(error.why.value).inc()
            raise ProblemError(_CODES[error.why], str(error)) from error
        course = go_on(session, self._rules.ttl_s)
        reload_uri = self._base(request) + _path(session, self._keys().seal(course.session))
        return json_response(
            SteeringManifest(course.ttl_s, reload_uri, course.priority, VERSION, course.clones), headers=_NO_STORE
        )

    def _session(self, request: web.Request) -> Session:
        """The session of a request. Raises SessionRefused."""
        session = self._keys().open(request.query.get(STATE_FIELD, ""))
        if session.play != request.match_info["session"]:
            raise SessionRefused(Refused.FOREIGN, "the state is that of another session")
        if session.until <= self._clock.wall_s():
            raise SessionRefused(Refused.OVER, "the session is over: ask no more, and begin another play")
        return session

    def _base(self, request: web.Request) -> str:
        """Absolute: Shaka Player cannot resolve a relative RELOAD-URI."""
        return self._rules.public_url or str(request.url.origin())


def add_to(routes: Routes, sessions: Sessions) -> None:
    for method in ("GET", "HEAD"):
        routes.raw(
            method, PATH, sessions.steer, summary="How a running session goes on: a steering manifest for HLS and DASH",
            content_type=CONTENT_TYPE,
        )  # fmt: skip


def _path(session: Session, sealed: str) -> str:
    return f"{PATH.format(session=session.play)}?{STATE_FIELD}={sealed}"
