"""The line from ExaBGP: which of two helpers is believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from oca.routes.exafeed import ExaBgpSessions
from tests.oca.routes.test_exabgp_text import SESSION, UP, announce


async def test_what_an_older_helper_still_says_when_a_newer_one_is_there_is_passed_over(tmp_path: Path) -> None:
    far: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: far.append(writer), tmp_path / "s")
    lines = [await asyncio.open_unix_connection(tmp_path / "s") for _ in range(2)]
    feed = ExaBgpSessions(tmp_path / "listening", (SESSION,))
    # What was read is fed by hand: it lies ready before the older line is closed.
    said = [asyncio.StreamReader(), asyncio.StreamReader()]
    reading = []
    for reader, (_, writer) in zip(said, lines, strict=True):
        reading.append(asyncio.create_task(feed._read(reader, writer)))
        await asyncio.sleep(0)
    try:
        said[1].feed_data(UP + b"\n")
        said[0].feed_data(announce("81.2.0.0/16") + b"\n")
        said[0].feed_eof()
        await reading[0]
        (heard,) = await feed.heard()
        assert (heard.up, dict(heard.routes)) == (True, {})
    finally:
        said[1].feed_eof()
        await reading[1]
        await feed.close()
        for writer in far:
            writer.close()
        server.close()
