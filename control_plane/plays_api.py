"""What operators ask of plays and misses on the `http` listener, with their token."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from chassis.auth import Operator, SecretGuard
from chassis.errors import ProblemError, ServiceError
from chassis.routes import Call, Routes
from contracts.instants import hour_of
from contracts.plays import AccountImport, PlayList, PlaySearch, PlayTold, SinceQuery, SiteHourList
from contracts.problems import ProblemCode
from control_plane.archive import access as access_archive
from control_plane.archive import accounts as account_archive
from control_plane.desk import Desk
from control_plane.errors import contradiction, unknown
from control_plane.site_hours import site_hours, wrong_accounts
from control_plane.steering_desk import SteeringDesk

MOST_HOURS = 168
MAX_IMPORT_BYTES = 64 * 1024 * 1024


class MissQuery(msgspec.Struct, frozen=True):
    """`site`: only this one. `hours`: how many back, the present one included; of all sites at most MOST_HOURS."""

    site: str = ""
    hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 60)] = 48


class PlaysApi:
    """Handlers; `add_to` is their table."""

    def __init__(self, desk: Desk, steering: SteeringDesk) -> None:
        self._desk = desk
        self._steering = steering

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        routes.get("/v1/plays", self.plays, summary="Plays by session, address, title and time", guard=operator)
        routes.get("/v1/plays/{play}", self.told, summary="Why a play was sent where it was sent", guard=operator)
        routes.get("/v1/misses", self.misses, summary="Misses by site and hour", guard=operator)
        routes.put(
            "/v1/misses",
            self.put_misses,
            summary="Take misses of logs that were joined",
            guard=operator,
            max_body_bytes=MAX_IMPORT_BYTES,
        )

    async def plays(self, call: Call[None, PlaySearch]) -> PlayList:
        try:
            return await self._steering.plays(call.query)
        except ServiceError as error:
            raise _refused(error) from error

    async def told(self, call: Call[None, SinceQuery]) -> PlayTold:
        play = call.path["play"]
        try:
            found = await self._steering.told(play, call.query.since)
        except ServiceError as error:
            raise _refused(error) from error
        if not found.told and not found.silent:
            raise unknown("play", play)
        return found

    async def misses(self, call: Call[None, MissQuery]) -> SiteHourList:
        site = call.query.site or None
        if site is None and call.query.hours > MOST_HOURS:
            raise ProblemError(ProblemCode.BAD_QUERY, f"hours: at most {MOST_HOURS} of all sites; name one for more")
        from_s = self._desk.calendar.wall_s() - (call.query.hours - 1) * 3600.0
        meant, silent = await self._steering.meant()
        meant = [hour for hour in meant if hour.hour >= hour_of(from_s) and site in (None, hour.site)]
        async with self._desk.database.read() as session:
            served = await account_archive.served_since(session, from_s, site)
            joined = await account_archive.since(session, hour_of(from_s), site)
        return SiteHourList(await asyncio.to_thread(site_hours, served, meant, joined), silent)

    async def put_misses(self, call: Call[AccountImport]) -> None:
        wrong = wrong_accounts(call.body.accounts)
        if wrong:
            raise contradiction(wrong)
        desk, operator = self._desk, call.who(Operator).name
        async with desk.alone(), desk.archive() as session:
            await account_archive.put(session, call.body.accounts)
            said = f"{len(call.body.accounts)} sites and hours"
            await access_archive.note(session, desk.clock.wall_s(), operator, "put-misses", said)


def _refused(error: ServiceError) -> ProblemError:
    """The refusal of a question, in the words of steering."""
    return ProblemError(ProblemCode.BAD_QUERY, error.problem.detail if error.problem else str(error))
