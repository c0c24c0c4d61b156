"""While the short way has a file at hand nothing else is opened: with one file open at most, a hint would have closed it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from contracts.tokens.jwt import verify
from oca.config import Serving
from oca.http.cors import Cors
from oca.http.reasons import Closing
from oca.http.request import Limits, RequestParser
from oca.link.counters import Count
from oca.link.messages import ReloadWhat
from oca.link.settings import store_settings
from oca.link.worker import LinkClient
from oca.store.extents import index_key, key_hash
from oca.store.reader import StoreReader
from oca.worker.accounting import Accounting
from oca.worker.admission import Ceilings, Doors, SharedNetworks
from oca.worker.answering import Desk, Exchange
from oca.worker.egress import Egress
from oca.worker.express import Express
from oca.worker.gate import Gate, HeldObjects
from oca.worker.hints import Hints
from oca.worker.holdings import Holdings
from oca.worker.pacing import PaceRules
from oca.worker.passing import Passing
from oca.worker.ports import ByteTransport, Machinery
from oca.worker.remote import Remote
from oca.worker.residency import DiskPools, Residency
from oca.worker.tokens import Tokens
from tests.oca.worker.worker_harness import Bench, publish

HOST = b"127.0.0.1:1"
SMALL = 60_000
TWO_EXTENTS = 1_500_000
PLACE = index_key(key_hash("vod|/media/t1/hd/v1.mp4"), 0)


class Taken:
    """A transport that keeps what it was given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def writelines(self, list_of_data: Sequence[bytes | bytearray | memoryview]) -> None:
        self.data += b"".join(list_of_data)

    def sendfile(self, file: object, offset: int, count: int | None) -> asyncio.Future[None] | None:
        raise NotImplementedError("small bodies are copied")

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return None


class Player:
    """A connection without its socket."""

    is_peer = False
    appliance = ""
    is_plain = True
    is_trusted = False
    is_congested = False
    own_hosts = frozenset((HOST,))

    def __init__(self) -> None:
        self.taken = Taken()
        self.transport: ByteTransport = self.taken
        self.remote = Remote(None, b"p127.0.0.0/24", False)
        self.session: str | None = None
        self.pace = 0

    def set_pace(self, rate: int) -> None: ...

    def read_on(self) -> bool:
        return False

    def begin(self, exchange: Exchange) -> None:
        raise NotImplementedError("the bodies of this test take one turn")

    def answered(self, keep_alive: bool, fatal: bool) -> None: ...

    def give_up(self, why: Closing) -> None: ...


class Unheard:
    """Nobody is told what the link meets: there is no keeper."""

    def linked(self) -> None: ...

    def unlinked(self) -> None: ...

    def reload(self, what: ReloadWhat) -> None: ...

    def reasked(self, asks: int) -> None: ...


def desk_of(bench: Bench, reader: StoreReader) -> Desk:
    loop = asyncio.get_running_loop()
    counters = bench.counters.line(0)
    holdings = Holdings(reader, bench.settings.store.extent_bytes)
    egress = Egress(0, partial(counters.add, Count.EGRESS_TAKEN))
    link = LinkClient(bench.state, 0, Unheard())
    passing = Passing(loop, bench.state, 0, 1, counters)
    machinery = Machinery(loop, holdings, Residency(), DiskPools(loop, 1), link, counters, egress, 1, 1, passing)
    serving = bench.settings.serving
    ceilings = Ceilings.of(serving.capacity, serving.max_connections)
    doors = Doors(ceilings, bench.counters.seen(), SharedNetworks(serving.capacity.shared_networks))
    hints = Hints(HeldObjects(holdings), 10)
    gate = Gate(doors, PaceRules.of(serving.pacing), hints, egress, link, bench.counters, counters)
    tokens = Tokens(str(bench.state / "keys.json"), verify, lambda _remembered: None)
    tokens.poll(time.time())
    date = b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
    return Desk(machinery, Cors(("*",)), tokens, Accounting(), counters, time.time, lambda _: date, gate, frozenset())


@pytest.mark.parametrize("hint", ["", "?CMCD=nor%3D%22v2.mp4%22%2Cnrr%3D%220-1499999%22"])
async def test_a_hint_that_opens_other_files_changes_no_byte(tmp_path: Path, hint: str) -> None:
    bench = Bench(tmp_path, Serving(workers=1))
    try:
        await _ask(bench, hint)
    finally:
        bench.stop()


async def _ask(bench: Bench, hint: str) -> None:
    asked, hinted = publish("v1.mp4", SMALL), publish("v2.mp4", TWO_EXTENTS)
    bench.store_file(asked)
    bench.store_file(hinted)
    indexes = {number: disk.index for number, disk in bench.store.disks.items()}
    reader = StoreReader.open(replace(store_settings(bench.settings), descriptors=1), bench.board, 0, indexes)
    desk = desk_of(bench, reader)
    express, player = Express(desk), Player()
    token = bench.keys.token()

    def request(query: str) -> bytes:
        return b"GET /~%b%b%b HTTP/1.1\r\nHost: %b\r\nRange: bytes=0-9999\r\n\r\n" % (
            token.encode(), asked.name.path.encode(), query.encode(), HOST,
        )  # fmt: skip

    parser = RequestParser(Limits())
    parser.feed(request(""))
    express.learn(request(""), parser.requests[0])
    desk.tokens.check(token, asked.name.path, time.time())
    assert not express.serve(player, request("")), "no block of a file that was just opened is proven"
    held = desk.machinery.holdings.open_extent(asked.name.key, key_hash(asked.name.key), 0, PLACE)
    assert held is not None
    await desk.machinery.pools.read(held, 0, 10_000)
    assert express.serve(player, request(""))
    player.taken.data = b""
    opened = reader.descriptors.opened
    served = express.serve(player, request(hint))
    assert served or hint, "what was closed for a hint is opened anew, and declined until it is proven"
    assert not served or player.taken.data.endswith(b"\r\n\r\n" + asked.data[:10_000])
    assert reader.descriptors.opened == opened + (3 if hint else 0)
    reader.close()
    desk.machinery.pools.close()
