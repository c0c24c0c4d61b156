"""An origin that changes its mind and breaks off at random: every answer is of one version, byte for byte, or breaks off within it."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from contracts.digests import BLOCK_BYTES
from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Reply, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
PATHS = tuple(f"/{kind}/{number}" for kind in ("strong", "weak", "dated", "bare") for number in range(2))
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Author:
    """Publishes versions: each answer names its own in `X-Version`, so that its bytes can be held against it."""

    def __init__(self, web: Web, chance: random.Random) -> None:
        self.web = web
        self.chance = chance
        self.bodies: dict[str, bytes] = {}

    def publish(self, path: str) -> None:
        name = f"v{len(self.bodies)}"
        size = self.chance.choice((0, 100, BLOCK_BYTES, 3 * BLOCK_BYTES + 17, 20 * BLOCK_BYTES + 5))
        body = self.bodies[name] = self.chance.randbytes(size)
        headers = {"X-Version": name, "Cache-Control": self.chance.choice(("max-age=0", "max-age=600", "no-cache"))}
        match path.split("/")[1]:
            case "strong":
                headers["ETag"] = f'"{name}"'
            case "weak":
                headers["ETag"] = f'W/"{name}"'
            case "dated":
                headers["Last-Modified"] = (
                    f"Sat, 01 Nov 2025 10:{len(self.bodies) // 60:02}:{len(self.bodies) % 60:02} GMT"
                )
        cut = self.chance.choice((None, None, None, 50, BLOCK_BYTES + 7))
        sized = path.split("/")[1] == "strong" or self.chance.random() < 0.7
        self.web.pages[path] = Page(body, headers, cut_at=cut, sized=sized)

    def check(self, path: str, reply: Reply, asked: str) -> bool:
        """Whether the answer was whole. Anything that no version says fails the test."""
        if reply.status >= 500:
            return False
        body = self.bodies[reply["x-version"]]
        if reply.status == 416:
            return True
        first, last = 0, len(body) - 1
        if reply.status == 206:
            match = _SPAN.fullmatch(reply["content-range"])
            assert match is not None
            first, last = int(match[1]), int(match[2])
            assert int(match[3]) == len(body)
        else:
            assert reply.status == 200
        wanted = body[first : last + 1]
        assert reply.body == wanted if reply.whole else wanted.startswith(reply.body), (path, asked, reply["x-version"])
        return reply.whole


async def test_no_answer_is_of_two_versions_whatever_the_origin_does(pulled: Pulled) -> None:
    world, web = pulled
    chance = random.Random(20251121)
    author = Author(web, chance)
    for path in PATHS:
        author.publish(path)
    whole = 0

    async def reader(seed: int) -> None:
        nonlocal whole
        own = random.Random(seed)
        for _ in range(25):
            path = own.choice(PATHS)
            first = own.choice((0, 0, 99, BLOCK_BYTES - 1, 17 * BLOCK_BYTES))
            spans = ("", "", f"bytes={first}-{first + own.choice((0, 1000, 2 * BLOCK_BYTES))}", f"bytes={first}-")
            asked = own.choice(spans)
            try:
                reply = await get(world, path, **({"Range": asked} if asked else {}))
            except (asyncio.IncompleteReadError, ConnectionError):
                continue  # broken off before its header
            if reply.status != 416:
                whole += author.check(path, reply, asked)
            if own.random() < 0.15:
                author.publish(own.choice(PATHS))

    await asyncio.gather(*(reader(seed) for seed in range(8)))
    assert whole > 50
    for path in PATHS:  # and when it has calmed down, all is as it is
        web.pages[path].cut_at = None
        reply = await get(world, path, Cache_Control="no-cache")
        assert reply.body == web.pages[path].body
