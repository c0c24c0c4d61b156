"""The line in front of an appliance gives every byte, and no more of them than its rate allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest_asyncio

from tests.browser.line import Line

BODY = bytes(range(256)) * 256


@pytest_asyncio.fixture
async def line() -> AsyncIterator[Line]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4) + BODY)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    made = Line("127.0.0.1", server.sockets[0].getsockname()[1])
    await made.open("127.0.0.1", 0)
    yield made
    await made.close()
    server.close()


async def ask(line: Line) -> bytes:
    host, _colon, port = line.host.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"ping")
    said = await reader.read(-1)
    writer.close()
    return said


async def test_both_ways_give_every_byte_in_order(line: Line) -> None:
    assert await ask(line) == b"ping" + BODY


async def test_all_clients_together_get_no_more_than_the_rate(line: Line) -> None:
    line.rate_bps = 2_000_000
    began_s = time.monotonic()
    assert set(await asyncio.gather(ask(line), ask(line))) == {b"ping" + BODY}
    unbounded_bits = 8 * Line.PIECE_BYTES
    assert time.monotonic() - began_s >= (2 * 8 * len(BODY) - unbounded_bits) / line.rate_bps


async def test_nobody_behind_the_line_is_a_connection_that_breaks() -> None:
    line = Line("127.0.0.1", 1)
    await line.open("127.0.0.1", 0)
    said = b""
    try:
        with suppress(ConnectionResetError):
            said = await ask(line)
    finally:
        await line.close()
    assert said == b""
