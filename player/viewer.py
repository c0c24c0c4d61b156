"""Pressing play: the whole of it for one title, from the play request to the last heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import httpx

from contracts.viewing import PlayAnswer, PlayBeat, PlayEvent
from player.fetching import RangeFetcher
from player.membership import Member, Refused
from player.playing import MAX_BUFFER_S, Playback, PlayReport, Wishes
from player.verification import Verifier


async def watch(
    member: Member,
    title_id: str,
    profile_id: str,
    device_id: str,
    *,
    source_address: str | None = None,
    rate: float = 1.0,
    until_s: float | None = None,
    resume: bool = True,
    buffer_s: float = MAX_BUFFER_S,
    hls: bool = False,
    on_host: Callable[[str], None] | None = None,
    on_playback: Callable[[Playback], None] | None = None,
) -> PlayReport:
    """Plays a title as `profile_id` and reports. Raises Refused when the play itself is refused, WrongBytes for a wrong
    byte; when cancelled, the session is ended.

    `rate`: media seconds per second; `until_s`: media position to leave at; `resume`: go on where the profile was;
    `hls` plays the HLS manifest in place of DASH's; `buffer_s`: media seconds to keep ahead; `on_host` is told the host of every range that came, `on_playback` what plays before it begins.
    """
    pressed_at = time.monotonic()
    answer = await member.play(title_id, profile_id, device_id)
    verifier = Verifier(await member.digests(title_id))
    fetcher = RangeFetcher(source_address, on_host=on_host)
    wishes = Wishes(answer.position_s if resume else 0.0, until_s, rate, answer.session_id, title_id, buffer_s)
    playback = Playback(
        lambda: member.manifest(answer.hls_url if hls else answer.dash_url),
        fetcher,
        verifier,
        wishes,
        pressed_at=pressed_at,
    )
    if on_playback is not None:
        on_playback(playback)
    beating = asyncio.create_task(_beat(member, answer, playback))
    try:
        return await playback.run()
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await asyncio.shield(_leave(member, answer, playback))
        await fetcher.aclose()


async def _beat(member: Member, answer: PlayAnswer, playback: Playback) -> None:
    event = PlayEvent.START
    while True:
        # Playback away: the media plays on; the next beat tells the position.
        with contextlib.suppress(Refused, httpx.TransportError):
            await member.beat(answer.heartbeat_url, PlayBeat(event, _position(playback)))
        event = PlayEvent.BEAT
        await asyncio.sleep(answer.heartbeat_interval_s)


async def _leave(member: Member, answer: PlayAnswer, playback: Playback) -> None:
    # The session ends by itself when its beats stop.
    with contextlib.suppress(Refused, httpx.TransportError):
        await member.beat(answer.heartbeat_url, PlayBeat(PlayEvent.STOP, _position(playback)))


def _position(playback: Playback) -> float:
    playback.timeline.advance(time.monotonic())
    return playback.timeline.position_s
