"""What the cycle's viewers count."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.cycle.catalogue import Entry, View
from benchmarks.cycle.town import PLANNED, Town
from benchmarks.cycle.viewers import Viewers


async def test_a_view_that_dies_or_is_cut_off_was_not_served() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(writer)

    asked: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    entry = Entry(0, "old-0000", "f-00000.mp4", 1000, -60.0, 1.0)
    viewers = Viewers(cast(Town, SimpleNamespace(entries=(entry,), steering_url=url)), PLANNED)
    try:
        with pytest.raises(IndexError):
            await viewers.watch(View(0.0, 7), 0, 0.0)
        assert viewers.by_day[0].not_served == 1
        late = asyncio.create_task(viewers.watch(View(0.0, 0), 0, 0.0))
        writer = await asked
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        assert viewers.by_day[0].not_served == 2
        writer.close()
    finally:
        await viewers.close()
        server.close()
