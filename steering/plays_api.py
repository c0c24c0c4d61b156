"""What operators ask of the steering log while steering runs."""

from __future__ import annotations

from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Call, Routes
from contracts.decisions import PlayQuery
from contracts.plays import MeantList, PlayList, PlaySearch, PlayTold
from contracts.problems import ProblemCode
from steering.decided import Recorder, told
from steering.journal import Journal
from steering.plays import Tally, found_play, wanted_by
from steering.searching import Found, Wanted

MOST_TOLD = 100
"""Decisions of one session: the last ones."""


class PlaysApi:
    """Handlers over a journal."""

    def __init__(self, journal: Journal, recorder: Recorder, tally: Tally, clock: Clock) -> None:
        self._journal = journal
        self._recorder = recorder
        self._tally = tally
        self._clock = clock

    def add_to(self, routes: Routes) -> None:
        routes.get("/v1/plays", self.plays, summary="Decisions of the log by session, client, title and time")
        routes.get("/v1/plays/told", self.told, summary="All that the log has of a session, in sentences")
        routes.get("/v1/meant", self.meant, summary="First choices by site and hour, by what they come to")

    async def plays(self, call: Call[None, PlaySearch]) -> PlayList:
        try:
            wanted = wanted_by(call.query, self._recorder, self._clock.wall_s())
        except ValueError as error:
            raise ProblemError(ProblemCode.BAD_QUERY, str(error)) from error
        found = await self._search(wanted, call.query.limit)
        listed = tuple(map(found_play, found.decisions))
        return PlayList(listed, wanted.since, wanted.until, whole=found.whole, unread=found.unread)

    async def told(self, call: Call[None, PlayQuery]) -> PlayTold:
        """The first decision first. Raises ProblemError NOT_FOUND for a session that nothing is kept of."""
        found = await self._search(Wanted(play=call.query.play), MOST_TOLD)
        if not found.decisions:
            raise ProblemError(ProblemCode.NOT_FOUND, f"no decision for play {call.query.play!r} is kept here")
        return PlayTold(tuple(told([decision]) for decision in reversed(found.decisions)))

    async def meant(self, call: Call[None]) -> MeantList:
        return MeantList(self._tally.since, self._tally.rows())

    async def _search(self, wanted: Wanted, limit: int) -> Found:
        try:
            return await self._journal.search(wanted, limit)
        except OSError as error:
            raise ProblemError(ProblemCode.UNAVAILABLE, f"the steering log cannot be read: {error}") from error
