"""Popularity feeds in the record. An upload replaces the feed; the next plan of the sites that name it goes by it."""

from __future__ import annotations

import asyncio

from chassis.logs import get_logger
from contracts.pins import FeedFacts, FeedList
from control_plane.archive import access as access_archive
from control_plane.archive import wishes as wish_archive
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, unknown
from control_plane.feeding import FeedError, read_feed


class Feeds:
    """The operators' feeds."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, name: str, text: str, operator: str) -> FeedFacts:
        """Raises ProblemError UNPROCESSABLE with the lines that are wrong."""
        desk, now = self._desk, self._desk.calendar.wall_s()
        try:
            facts, rows = await asyncio.to_thread(read_feed, name, text, now)
        except FeedError as error:
            raise contradiction(error.lines) from error
        async with desk.alone(), desk.archive() as session:
            await wish_archive.put_feed(session, facts, rows)
            await access_archive.note(
                session, now, operator, "put-feed", name, f"{facts.rows} rows, {facts.files} files"
            )
        get_logger("control_plane.feeds").info("feed-taken", feed=name, rows=facts.rows, files=facts.files)
        return facts

    async def drop(self, name: str, operator: str) -> None:
        """Raises ProblemError: NOT_FOUND, CONFLICT while a site takes its popularity from it."""
        desk = self._desk
        async with desk.alone():
            async with desk.database.read() as session:
                known = await wish_archive.feeds(session)
            if all(feed.name != name for feed in known):
                raise unknown("feed", name)
            users = [s.id for s in desk.registry.sites.values() if any(one.feed == name for one in s.popularity)]
            if users:
                raise conflict(f"feed {name} is what sites take their popularity from: {', '.join(users)}")
            async with desk.archive() as session:
                await wish_archive.drop_feed(session, name)
                await access_archive.note(session, desk.calendar.wall_s(), operator, "delete-feed", name)

    async def listed(self) -> FeedList:
        async with self._desk.database.read() as session:
            return FeedList(await wish_archive.feeds(session))
