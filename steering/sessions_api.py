"""`GET /v1/steering/SESSION`: what players of running sessions are answered, and the address they are given first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chassis.clients import UNKNOWN, Network, client_address
from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Routes, json_response
from contracts.content_steering import DASH_DIALECT, DIALECT_FIELD, PATH, STATE_FIELD, VERSION, SteeringManifest
from contracts.problems import ProblemCode
from contracts.world import Ranking, RankRequest
from steering.content_steering import MOVES, Asked, Course, SteeringRules, steer
from steering.counted import CountedMoves
from steering.decisions import Decisions
from steering.feed import State
from steering.heard import Heard, heard
from steering.metrics import SteeringMetrics
from steering.prefixes import IpAddress, parse_address
from steering.sessions import MOST_CHARS, Keys, NotSteered, Refused, Session, SessionRefused, opened

CONTENT_TYPE = "application/json"
_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
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
class Publicity:
    """How players reach this. `public_url` empty takes what they asked; of `trusted` proxies X-Forwarded-For is believed; `follows` says
    whether the address that a question comes from counts at all."""

    public_url: str = ""
    trusted: tuple[Network, ...] = ()
    follows: bool = True


class Sessions:
    """Content steering of sessions. `keys` gives the keys of now, `on_move` is told of each move that counts (steering.counted)."""

    def __init__(
        self,
        state: State,
        decisions: Decisions,
        keys: Callable[[], Keys],
        metrics: SteeringMetrics,
        clock: Clock,
        rules: SteeringRules,
        publicity: Publicity,
        on_move: Callable[[Course, float], None],
    ) -> None:
        self._state = state
        self._decisions = decisions
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._rules = rules
        self._publicity = publicity
        self._on_move = on_move
        self._counted = CountedMoves(rules.counted_s)

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
        base = self._base(request)
        said = heard(request.query.items())
        course = self._course(session, request, said)
        sealed = self._keys().seal(course.session)
        if (
            len(sealed) > MOST_CHARS
        ):  # the course does not fit any more: the state before it is as good a start for the next answer
            sealed = self._keys().seal(session)
        dialect = f"&{DIALECT_FIELD}={DASH_DIALECT}" if said.is_dash else ""
        reload_uri = base + _path(session, sealed) + dialect
        answer = SteeringManifest(course.ttl_s, reload_uri, course.priority, VERSION, course.clones)
        return json_response(answer, headers=_NO_STORE)

    def _course(self, session: Session, request: web.Request, said: Heard) -> Course:
        """How a session goes on; a move that counts is reserved for and told. HEAD asks what would be answered, and moves nobody."""
        now_s = self._clock.wall_s()
        client = self._client(request) if self._publicity.follows else None
        course = steer(
            self._decisions.scene(), session, Asked(said, client, self._state.live, int(now_s)), self._rules
        )  # fmt: skip
        self._metrics.sessions_steered.labels(course.why.value).inc()
        for why in said.ignored:
            self._metrics.reports_ignored.labels(why.value).inc()
        counts = course.why in MOVES and request.method != "HEAD"
        if counts and self._counted.count(session.play, session.moved_at, int(now_s)):
            self._decisions.reserve(course.reserved)
            self._on_move(course, now_s)
        return course

    def _client(self, request: web.Request) -> IpAddress | None:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        text = client_address(request.remote, forwarded, self._publicity.trusted)
        return None if text == UNKNOWN else parse_address(text)

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
        if self._publicity.public_url:
            return self._publicity.public_url
        host = request.headers.get("Host", "")
        if _HOST.fullmatch(host) is None:
            raise ProblemError(ProblemCode.BAD_REQUEST, f"Host: {host[:80]!r} is no host with or without a port")
        return f"{request.scheme}://{host}"


def add_to(routes: Routes, sessions: Sessions) -> None:
    for method in ("GET", "HEAD"):
        routes.raw(
            method, PATH, sessions.steer, summary="How a running session goes on: a steering manifest for HLS and DASH",
            content_type=CONTENT_TYPE,
        )  # fmt: skip


def _path(session: Session, sealed: str) -> str:
    return f"{PATH.format(session=session.play)}?{STATE_FIELD}={sealed}"
