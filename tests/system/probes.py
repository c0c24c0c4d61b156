"""Probes: small things that a member, an operator or a player does again and again, so that an outage is seen as it happens.

A probe answers with an empty word when the thing worked, else with the words that people would see: a status and its problem
code, or how the connection failed. A wrong byte is no word but WrongBytes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from contracts.problems import ProblemCode
from contracts.urls import split_token
from contracts.world import RankFile, Ranking, RankRequest
from player.fetching import NothingAnswered, RangeFetcher, TokenRefusedByServer
from player.membership import Refused, problem_of
from player.presentation import parse_mpd
from player.verification import WrongBytes
from tests.system.town import Home, Town

PATIENCE_S = 8.0
PIECE_BYTES = 64 * 1024
REFUSED = "connection refused"
BROKEN = "connection broken"
NAMED = "still named"
SILENT = f"no answer within {PATIENCE_S:g} s"
Ask = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Answered:
    """One attempt. Instants are `time.monotonic()`; `words` is empty when it worked."""

    began_s: float
    ended_s: float
    words: str


@dataclass
class Probe:
    """Asks every `period_s` until it is cancelled. `seen` has every attempt in order."""

    name: str
    ask: Ask
    period_s: float = 0.25
    seen: list[Answered] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            words = await told(self.ask)
            self.seen.append(Answered(began, time.monotonic(), words))
            await asyncio.sleep(max(0.0, began + self.period_s - time.monotonic()))

    def since(self, at_s: float) -> list[Answered]:
        """Attempts that ended after `at_s`."""
        return [one for one in self.seen if one.ended_s >= at_s]

    def worked_since(self, at_s: float, times: int = 2) -> bool:
        """The last `times` attempts began after `at_s` and worked."""
        last = self.seen[-times:]
        return len(last) == times and all(one.began_s >= at_s and not one.words for one in last)


async def told(ask: Ask) -> str:
    """How an attempt ended, in words. Raises what is nobody's outage (WrongBytes, a bug)."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await ask()
    except Refused as refused:
        return _problem_words(refused.problem.status, refused.problem.type)
    except NothingAnswered as error:
        return "no address answered: " + ", ".join(
            str(status) if status else "unreachable" for status in error.statuses
        )
    except TokenRefusedByServer:
        return "403 for a fresh token"
    except httpx.ConnectError:
        return REFUSED
    except (TimeoutError, httpx.TimeoutException):
        return SILENT
    except httpx.TransportError:
        return BROKEN


def fresh_client(source_address: str | None = None) -> httpx.AsyncClient:
    """A client that makes a new connection for every request, as somebody does who comes for the first time."""
    limits = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(local_address=source_address, limits=limits)
    return httpx.AsyncClient(transport=transport, timeout=PATIENCE_S)


def logs_in(home: Home) -> Ask:
    async def ask() -> str:
        await home.log_in()
        return ""

    return ask


def opens_home(home: Home) -> Ask:
    """A home page with rows; what it had to leave out is not an outage."""

    async def ask() -> str:
        found = await home.member.home(home.profile_id)
        return "" if any(row.titles for row in found.rows) else "a home page without titles"

    return ask


def browses(home: Home) -> Ask:
    async def ask() -> str:
        found = await home.member.titles(home.network.region)
        return "" if found.titles else "an empty catalogue"

    return ask


def presses_play(town: Town, home: Home, title_id: str) -> Ask:
    """A new play to its first bytes: session, manifest, and the first piece of the lowest picture, wherever it comes from.

    Always the same device, so that a play which could not be ended makes way for the next one.
    """

    async def ask() -> str:
        answer = await home.member.play(title_id, home.profile_id, "probe")
        fetcher = RangeFetcher(home.address)
        try:
            found = parse_mpd(await home.member.manifest(answer.dash_url))
            addresses = found.video[0].addresses
            got = await fetcher.fetch(addresses, 0, PIECE_BYTES - 1)
        finally:
            await fetcher.aclose()
            with suppress(Refused, httpx.TransportError):
                await home.member.leave(answer)
        compare(town, split_token(urlsplit(addresses[0].url).path)[1], 0, got.data)
        return ""

    return ask


def fetches(town: Town, client: httpx.AsyncClient, base_url: str, token: str, pieces: Iterator[tuple[str, int]]) -> Ask:
    """The next piece of (path, offset) from one appliance, on a new connection and without any other to turn to."""

    async def ask() -> str:
        path, offset = next(pieces)
        headers = {"Range": f"bytes={offset}-{offset + PIECE_BYTES - 1}"}
        response = await client.get(f"{base_url}/~{token}{path}", headers=headers)
        if response.status_code != 206:
            problem = problem_of(response)
            return _problem_words(problem.status, problem.type)
        compare(town, path, offset, response.content)
        return ""

    return ask


def answers(client: httpx.AsyncClient, url: Callable[[], str]) -> Ask:
    """A process's own address, `/healthz`."""

    async def ask() -> str:
        response = await client.get(f"{url()}/healthz")
        return "" if response.status_code == 200 else f"{response.status_code}"

    return ask


def ranks_without(client: httpx.AsyncClient, steering: str, request: RankRequest, appliance: str) -> Ask:
    """Steering's answer does not name this appliance."""

    async def ask() -> str:
        body = msgspec.json.encode(request)
        response = await client.post(f"{steering}/v1/rank", content=body, headers={"Content-Type": "application/json"})
        ranking = msgspec.json.decode(response.content, type=Ranking)
        named = {choice.appliance_id for group in ranking.groups for choice in group.choices}
        return NAMED if appliance in named else ""

    return ask


def rank_request(town: Town, home: Home, title_id: str) -> RankRequest:
    files = tuple(RankFile(file.key, file.group) for file in town.details[title_id].files)
    return RankRequest(home.address, files)


async def media_token(home: Home, title_id: str) -> str:
    """A fresh media token for a title. The session is ended; its token stays good."""
    answer = await home.member.play(title_id, home.profile_id, "token")
    found = parse_mpd(await home.member.manifest(answer.dash_url))
    await home.member.leave(answer)
    token, _path = split_token(urlsplit(found.video[0].addresses[0].url).path)
    assert token is not None, "every media address carries a token"
    return token


def held_pieces(town: Town, title_id: str) -> Iterator[tuple[str, int]]:
    """Pieces all over a filled title, for ever."""
    path = town.path_of(title_id)
    size = town.object_file(path).stat().st_size
    return ((path, offset) for offset in itertools.cycle(range(0, size - PIECE_BYTES, 3 * PIECE_BYTES)))


def block_pieces(town: Town, title_id: str) -> Iterator[tuple[str, int]]:
    """One piece per block from the end of the file backwards: each a miss the first time."""
    path = town.path_of(title_id)
    size = town.object_file(path).stat().st_size
    blocks = range(size // (256 * 1024) - 1, -1, -1)
    return ((path, block * 256 * 1024) for block in itertools.cycle(blocks))


def compare(town: Town, path: str, offset: int, data: bytes) -> None:
    """Raises WrongBytes unless these are the published file's bytes, read from the origin's disk."""
    file: Path = town.object_file(path)
    with file.open("rb") as published:
        published.seek(offset)
        if published.read(len(data)) != data or not data:
            raise WrongBytes(f"{path}: bytes from {offset} are not those of the published file")


def _problem_words(status: int, type_uri: str) -> str:
    code = ProblemCode.from_type(type_uri)
    return f"{status} {code.code}" if code else str(status)
