"""What operators ask of the steering log while steering runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Call, Routes
from contracts.decisions import PlayExplanation, PlayQuery
from contracts.plays import MeantList, PlayList, PlaySearch, PlayTold
from contracts.problems import ProblemCode
from steering.api import Keeping
from steering.decided import read, told
from steering.journal import Journal
from steering.plays import found_play, since_of, wanted_by
from steering.searching import Wanted

BUSY_S = 2.0
MOST_TOLD = 100
"""Decisions of one session: the last ones."""


class PlaysApi:
    """Handlers over what is kept; every question is refused with 503 where nothing is, so that nobody takes silence for an answer."""

    def __init__(self, keeping: Keeping | None, clock: Clock) -> None:
        self._keeping = keeping
        self._clock = clock

    def add_to(self, routes: Routes) -> None:
        routes.get("/v1/plays", self.plays, summary="Decisions of the log by session, client, title and time")
        routes.get("/v1/plays/told", self.told, summary="All that the log has of a session, in sentences")
        routes.get("/v1/meant", self.meant, summary="First choices by site and hour, by what they come to")
        routes.get(
            "/v1/explain", self.explain, summary="Why a playback session was sent where it was sent, from the log"
        )

    async def plays(self, call: Call[None, PlaySearch]) -> PlayList:
        kept = self._kept()
        try:
            wanted = wanted_by(call.query, kept.recorder, self._clock.wall_s())
        except ValueError as error:
            raise ProblemError(ProblemCode.BAD_QUERY, str(error)) from error
        with _log_trouble(kept.journal):
            found = await kept.journal.search(wanted, call.query.limit)
        listed = tuple(map(found_play, found.decisions))
        return PlayList(listed, wanted.since, wanted.until, whole=found.whole, unread=found.unread)

    async def told(self, call: Call[None, PlayQuery]) -> PlayTold:
        """The first decision first. Raises ProblemError NOT_FOUND for a session that nothing is kept of."""
        kept, play = self._kept(), call.query.play
        since = self._since(call.query)
        with _log_trouble(kept.journal):
            found = await kept.journal.search(Wanted(play=play, since=since), MOST_TOLD)
        if not found.decisions:
            raise _unknown(play, since)
        return PlayTold(tuple(told([decision]) for decision in reversed(found.decisions)))

    async def explain(self, call: Call[None, PlayQuery]) -> PlayExplanation:
        """The last ranking of a session, and moves since. Raises ProblemError NOT_FOUND for a session that nothing is kept of."""
        journal, play = self._kept().journal, call.query.play
        since = self._since(call.query)
        if journal.remembers(play):
            lines = await journal.history(play)
        else:
            with _log_trouble(journal):
                lines = await journal.history(play, since)
        if not lines:
            raise _unknown(play, since)
        return told([read(line) for line in lines])

    async def meant(self, call: Call[None]) -> MeantList:
        tally = self._kept().tally
        return MeantList(tally.since, tally.rows())

    def _kept(self) -> Keeping:
        if self._keeping is None:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the steering log is off (decision_log.enabled)")
        return self._keeping

    def _since(self, query: PlayQuery) -> str:
        try:
            return since_of(query, self._clock.wall_s())
        except ValueError as error:
            raise ProblemError(ProblemCode.BAD_QUERY, str(error)) from error


@contextmanager
def _log_trouble(journal: Journal) -> Iterator[None]:
    """Around a search: refuses one that would wait behind another that waits, and says what cannot be read."""
    if journal.is_crowded:
        raise ProblemError(
            ProblemCode.UNAVAILABLE, "the steering log is being searched, ask again", retry_after_s=BUSY_S
        )
    try:
        yield
    except OSError as error:
        raise ProblemError(ProblemCode.UNAVAILABLE, f"the steering log cannot be read: {error}") from error


def _unknown(play: str, since: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"no decision for play {play!r} is kept here since {since}")
