"""The line to BIRD: questions over its control socket. Tables are asked for only when a session's counts have moved, and read beside the event loop:
of a large one the text takes seconds, in which the workers go on asking the keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.routes import Route
from oca.routes import bird
from oca.routes.table import Heard, RoutesUnreadable

ANSWER_S = 10.0
LONGEST_ANSWER = 256 * 1024 * 1024
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Seen:
    counts: tuple[str, ...]
    routes: Mapping[str, Route]
    settled: bool


class BirdSessions:
    """The sessions of a BIRD on this machine, by the names of the settings."""

    def __init__(self, socket: str, names: Sequence[str]) -> None:
        self._socket = socket
        self._names = tuple(names)
        self._seen: dict[str, _Seen] = {}

    async def heard(self) -> tuple[Heard, ...]:
        """Raises RoutesUnreadable when BIRD is not there, owes an answer for ANSWER_S, or refuses."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                return await self._ask(reader, writer)
            finally:
                writer.close()
        except (OSError, TimeoutError) as error:
            self._seen.clear()
            why = "does not answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise RoutesUnreadable(f"BIRD at {self._socket}: {why}") from error

    async def close(self) -> None:
        """Nothing is kept open between two looks."""

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Heard, ...]:
        async with asyncio.timeout(ANSWER_S):
            await _answer(reader)
        shown = await _question(reader, writer, "show protocols all")
        protocols = await asyncio.to_thread(_protocols, shown)
        found = []
        for name in self._names:
            protocol = protocols.get(name)
            if protocol is None:
                found.append(Heard(name, up=False, detail="BIRD has no such session: write its configuration again"))
                self._seen.pop(name, None)
            elif not protocol.up:
                found.append(Heard(name, False, {}, protocol.peer, protocol.peer_as, protocol.info))
                self._seen.pop(name, None)
            else:
                seen = await self._table(reader, writer, protocol)
                found.append(Heard(name, True, seen.routes, protocol.peer, protocol.peer_as, "", seen.settled))
        return tuple(found)

    async def _table(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: bird.Protocol
    ) -> _Seen:
        before = self._seen.get(protocol.name)
        if before is not None and before.counts == protocol.counts:
            seen = _Seen(before.counts, before.routes, True)
        else:
            shown = await _question(reader, writer, f"show route all protocol {protocol.name}")
            # A table that was already whole goes on to be taken as it comes; a new one is waited for until it is quiet.
            is_settled = before is not None and before.settled
            seen = _Seen(protocol.counts, await asyncio.to_thread(_routes, shown), is_settled)
        self._seen[protocol.name] = seen
        return seen


def _protocols(shown: bytes) -> dict[str, bird.Protocol]:
    return {one.name: one for one in bird.protocols_of(bird.lines_of(shown.decode(errors="replace")))}


def _routes(shown: bytes) -> dict[str, Route]:
    return bird.routes_of(bird.lines_of(shown.decode(errors="replace")))


async def _question(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> bytes:
    """Raises RoutesUnreadable, TimeoutError."""
    async with asyncio.timeout(ANSWER_S):
        writer.write(text.encode() + b"\n")
        await writer.drain()
        return await _answer(reader)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Up to the line that ends it. Raises RoutesUnreadable."""
    raw = bytearray()
    while True:
        chunk = await reader.read(CHUNK)
        if not chunk:
            raise RoutesUnreadable("BIRD hung up inside an answer")
        raw += chunk
        if len(raw) > LONGEST_ANSWER:
            raise RoutesUnreadable(f"BIRD's answer is longer than {LONGEST_ANSWER} bytes")
        if raw.endswith(b"\n"):
            last = raw[raw.rfind(b"\n", 0, len(raw) - 1) + 1 :].decode(errors="replace")
            if bird.is_whole(last):
                return bytes(raw)
            if not bird.is_answer(last):
                raise RoutesUnreadable(f"BIRD says what is no answer: {last[:80]!r}")
