"""The readers of a wave as a process of their own: `python -m benchmarks.store.waves`, orders as JSON lines on stdin, answers on stdout.

All connections are open and have been answered once before a wave begins: a wave is made of requests, not of connections and tokens.
Every byte is compared. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from benchmarks.serve import processes
from tests.oca.appliance.crowd import End, Reader, Wanted, ends
from tests.oca.store.harness import make_file

TOGETHER = 100
"""Connections opened at once."""


class Crowd(msgspec.Struct, frozen=True, tag="crowd"):
    """Open so many connections; the tokens are dealt out in turn."""

    host: str
    port: int
    readers: int
    targets: tuple[str, ...]
    """Of a file that is held, one per token."""
    warm: FileMade


class FileMade(msgspec.Struct, frozen=True):
    """A file that `make_file` makes."""

    key: str
    size: int
    seed: int


class Wave(msgspec.Struct, frozen=True, tag="wave"):
    """Everybody asks for the same bytes at once."""

    targets: tuple[str, ...]
    file: FileMade
    first: int
    last: int


class Came(msgspec.Struct, frozen=True):
    """What a wave came to: seconds from the first request to the end of the last answer, and when first bytes came."""

    seconds: float
    began_at: float
    first_at: tuple[float, ...]
    ends: dict[str, int]


Order = Crowd | Wave
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


@dataclass
class _Readers:
    host: str
    readers: list[Reader]
    data: dict[tuple[str, int, int], bytes]

    async def ask(self, wave: Wave) -> Came:
        data = self._bytes_of(wave.file)
        asks = [
            Wanted(self.host, wave.targets[n % len(wave.targets)], wave.first, wave.last, data)
            for n in range(len(self.readers))
        ]
        began = time.monotonic()
        found = await asyncio.gather(*(reader.ask(one) for reader, one in zip(self.readers, asks, strict=True)))
        seconds = time.monotonic() - began
        return Came(seconds, began, tuple(one.first_at for one in found), dict(ends(found)))

    def _bytes_of(self, made: FileMade) -> bytes:
        name = (made.key, made.size, made.seed)
        if name not in self.data:
            self.data = {name: make_file(*name).data}
        return self.data[name]


async def _opened(crowd: Crowd) -> _Readers:
    readers = [Reader(crowd.host, crowd.port) for _ in range(crowd.readers)]
    for start in range(0, len(readers), TOGETHER):
        if not all(await asyncio.gather(*(reader.open() for reader in readers[start : start + TOGETHER]))):
            raise ConnectionError("the appliance takes no connection")
    made = _Readers(f"{crowd.host}:{crowd.port}", readers, {})
    came = await made.ask(Wave(crowd.targets, crowd.warm, 0, 0))
    if came.ends != {End.COMPLETE.name.lower(): len(readers)}:
        raise ConnectionError(f"what is held was not answered: {came.ends}")
    return made


async def _run() -> None:
    lines = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    readers: _Readers | None = None
    while line := await lines.readline():
        match _orders.decode(line):
            case Crowd() as crowd:
                for reader in readers.readers if readers is not None else ():
                    reader.close()
                readers = await _opened(crowd)
                said: object = {"open": crowd.readers}
            case Wave() as wave:
                assert readers is not None, "a crowd comes before its waves"
                said = await readers.ask(wave)
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()


class Waves:
    """The other side: starts the process, orders waves. `close` it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, log: Path) -> Waves:
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.store.waves"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=1 << 24,
            )
        return cls(process)

    async def crowd(self, crowd: Crowd) -> None:
        """Raises RuntimeError when it could not be opened."""
        await self._order(crowd)

    async def wave(self, wave: Wave) -> Came:
        return msgspec.json.decode(await self._order(wave), type=Came)

    async def close(self) -> None:
        assert self._process.stdin is not None, "it was started with a pipe"
        self._process.stdin.close()
        await self._process.wait()

    async def _order(self, order: Order) -> bytes:
        process = self._process
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        said = await process.stdout.readline()
        if not said:
            raise RuntimeError("the readers' process has ended; its log says why")
        return said


def main() -> None:
    processes.raise_file_limit()
    uvloop.run(_run())


if __name__ == "__main__":
    main()
