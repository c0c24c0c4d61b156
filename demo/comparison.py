"""The same requests on real appliances with empty stores that only keep what is pulled through.

The comparison has sites of its own with the same boxes and disks and no plan; its players sit in networks of their own, so that
playback and steering name these boxes as they named the planned ones. What was asked in the evening is asked again in the same
order, without waiting for anybody's playback clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from contracts.urls import split_token
from demo.footage import Report
from player.fetching import Attempt, Ended, RangeFetcher
from player.membership import Member
from player.presentation import Address, parse_mpd

SIDE_BY_SIDE = 3
"""Requests under way at a time per network: about as many as there were in the evening."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the evening: `path` without token, an inclusive byte range."""

    at_s: float
    path: str
    first: int
    last: int


def sequence(attempts: Sequence[Attempt]) -> list[Asked]:
    """The requests that were answered in full, in the order they were made; a range fetched in two parts counts as two."""
    whole = [a for a in attempts if a.ended is Ended.COMPLETE and a.last >= a.first]
    return [Asked(a.at_s, a.path, a.first, a.last) for a in sorted(whole, key=lambda a: a.at_s)]


async def addresses(member: Member, title_ids: Sequence[str], profile_id: str) -> dict[str, tuple[Address, ...]]:
    """Where this member's player would fetch each file from, by token-less path."""
    found: dict[str, tuple[Address, ...]] = {}
    for title_id in title_ids:
        answer = await member.play(title_id, profile_id, "comparison")
        manifest = parse_mpd(await member.manifest(answer.dash_url))
        await member.leave(answer)
        for track in (*manifest.video, *manifest.audio):
            found[split_token(urlsplit(track.addresses[0].url).path)[1]] = track.addresses
    return found


async def replay(
    asked: Sequence[Asked], where: Mapping[str, tuple[Address, ...]], source_address: str, report: Report
) -> list[Attempt]:
    """Asks everything again, a few at a time and in order. Returns what happened. Raises NothingAnswered."""
    fetcher = RangeFetcher(source_address)
    waiting = list(reversed(asked))

    async def take() -> None:
        while waiting:
            request = waiting.pop()
            await fetcher.fetch(where[request.path], request.first, request.last)
            report(f"{len(asked) - len(waiting)} of {len(asked)} requests", 1 - len(waiting) / len(asked))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(SIDE_BY_SIDE):
                group.create_task(take())
    finally:
        await fetcher.aclose()
    return fetcher.attempts
