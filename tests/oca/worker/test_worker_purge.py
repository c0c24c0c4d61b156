"""Purges at a worker's socket: an answer that is being sent does not go on with what was purged."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from oca.config import Serving
from oca.store.purge import PurgeKind
from tests.oca.worker.worker_harness import Bench, publish

SIZE = 24 << 20
"""More than socket buffers take in."""


async def test_an_answer_that_is_being_sent_ends_where_a_purge_meets_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Serving(first_byte_s=1.0, stall_s=1.0), extent_bytes=32 << 20)
    try:
        kept, file = publish("kept.mp4", SIZE), publish("film.mp4", SIZE)
        bench.store_file(kept)
        bench.store_file(file)
        bench.start()
        clients = [await bench.connect() for _ in range(2)]
        for client, one in zip(clients, (kept, file), strict=True):
            client.send(bench.path(one))
            await client.reader.readexactly(1000)
        purge = bench.store.purge(PurgeKind.OBJECT, file.name.key)
        end = time.monotonic() + 30
        while not bench.store.purge_acknowledged(purge):
            assert time.monotonic() < end, "the worker polls"
            await asyncio.sleep(0.01)
        whole, cut = await asyncio.gather(
            *(client.reader.readexactly(SIZE - 1000) for client in clients), return_exceptions=True
        )
        assert isinstance(whole, bytes), "what nobody purged goes on"
        assert isinstance(cut, asyncio.IncompleteReadError)
        assert cut.partial in file.data, "no foreign byte"
        for client in clients:
            await client.close()
    finally:
        bench.stop()
