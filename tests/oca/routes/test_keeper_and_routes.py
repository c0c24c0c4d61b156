"""A keeper tells what the BIRD beside it has learnt; a BIRD that hangs up or talks nonsense costs no heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from oca.config import BgpSession, Routes
from tests.oca.keeper.lab import keeper_lab, until

SHOWN = """\
1002-r1         BGP        ---        up     16:56:57.741  Established
1006-    Neighbor address: 127.0.0.2
     Neighbor AS:      64500
     Import updates:              {count}          0          0          0          {count}
0000 """
ROUTE = """\
1007-{cidr}          unicast [r1 16:57:00.742] * (100) [AS64500i]
1012-@BGP.as_path: 64500
 @BGP.next_hop: 127.0.0.2
""".replace("@", "\t")


class FakeBird:
    """Answers as BIRD does, from what a test sets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cidrs: tuple[str, ...] = ()
        self.nonsense = ""
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"0001 BIRD 2.0.12 ready.\n")
        while line := await reader.readline():
            self.asked += 1
            writer.write(self.answer(line.decode()).encode() + b"\n")
        writer.close()

    def answer(self, question: str) -> str:
        if self.nonsense:
            return self.nonsense
        if question.startswith("show protocols"):
            return SHOWN.format(count=len(self.cidrs))
        return "".join(ROUTE.format(cidr=cidr) for cidr in self.cidrs) + "0000 "


@asynccontextmanager
async def fake_bird(folder: Path) -> AsyncIterator[FakeBird]:
    bird = FakeBird(folder / "bird.ctl")
    server = await asyncio.start_unix_server(bird.serve, bird.path)
    try:
        yield bird
    finally:
        server.close()


async def test_the_keeper_tells_what_bird_learns_and_lives_on_when_bird_does_not(tmp_path: Path) -> None:
    async with fake_bird(tmp_path) as bird:
        session = BgpSession("r1", "127.0.0.2", 64500, "127.0.0.3")
        routes = Routes("bird", 64600, "", (session,), str(bird.path), look_s=0.05)
        bird.cidrs = ("81.2.0.0/16",)
        async with keeper_lab(tmp_path, routes=routes) as lab:
            await lab.start()
            told = lab.plane.route_reports
            await until(lambda: len(told) == 1)
            assert (told[0].up, [route.cidr for route in told[0].announced], told[0].peer_as) == (
                True,
                ["81.2.0.0/16"],
                64500,
            )
            bird.cidrs = ("81.2.0.0/16", "81.3.0.0/16")
            await until(lambda: len(told) == 2)
            assert (told[1].after, [route.cidr for route in told[1].announced]) == (told[0].state, ["81.3.0.0/16"])
            bird.nonsense = "HTTP/1.1 400 Bad Request"
            await until(lambda: len(told) == 3)
            assert (told[2].up, "no answer" in told[2].detail) == (False, True)
            beats = len(lab.plane.beats)
            await until(lambda: len(lab.plane.beats) > beats + 2)
            bird.nonsense = ""
            await until(lambda: len(told) == 4)
            assert (told[3].after, len(told[3].announced)) == ("", 2)
