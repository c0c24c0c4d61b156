"""A member at home: the public APIs of auth, catalog, recommendation and playback as one client.

Every refusal is a Refused that carries the service's problem (RFC 9457).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from contracts.catalogue import TitleDetails, TitleDigests, TitleList
from contracts.digests import FileDigests
from contracts.members import Account, LogIn, SignUp, Tokens
from contracts.problems import Problem
from contracts.viewing import ANY_DEVICE, BeatAnswer, DeviceLimits, Home, PlayAnswer, PlayBeat, PlayRequest, Positions
from player.fetching import trusting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """Base URLs of the companions, without a trailing slash."""

    auth: str
    catalog: str
    recommendation: str
    playback: str


class Refused(Exception):
    """A service said no, in its own words."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}" + (f": {problem.detail}" if problem.detail else ""))
        self.problem = problem


class Member:
    """One member on one device. `source_address` is the network the member sits in. Close with `aclose`."""

    def __init__(self, services: Services, source_address: str | None = None, timeout_s: float = 10.0) -> None:
        self._services = services
        transport = httpx.AsyncHTTPTransport(local_address=source_address, retries=1, verify=trusting())
        self._client = httpx.AsyncClient(transport=transport, timeout=timeout_s)
        self._access = ""
        self._refresh = ""

    async def aclose(self) -> None:
        await self._client.aclose()

    async def sign_up(self, body: SignUp) -> None:
        self._keep(await self._send("POST", f"{self._services.auth}/v1/accounts", Tokens, body))

    async def log_in(self, email: str, password: str, device: str = "") -> None:
        self._keep(
            await self._send("POST", f"{self._services.auth}/v1/sessions", Tokens, LogIn(email, password, device))
        )

    async def account(self) -> Account:
        return await self._send("GET", f"{self._services.auth}/v1/account", Account)

    async def titles(self, region: str) -> TitleList:
        return await self._send("GET", f"{self._services.catalog}/v1/titles?region={region}", TitleList)

    async def search(self, words: str, region: str) -> TitleList:
        query = httpx.QueryParams({"q": words, "region": region})
        return await self._send("GET", f"{self._services.catalog}/v1/search?{query}", TitleList)

    async def title(self, title_id: str, region: str) -> TitleDetails:
        return await self._send("GET", f"{self._services.catalog}/v1/titles/{title_id}?region={region}", TitleDetails)

    async def digests(self, title_id: str) -> dict[str, FileDigests]:
        """Published block digests by path."""
        url = f"{self._services.catalog}/v1/titles/{title_id}/digests"
        found = await self._send("GET", url, TitleDigests)
        return {entry.key.partition("|")[2]: entry for entry in found.files}

    async def home(self, profile_id: str) -> Home:
        return await self._send("GET", f"{self._services.recommendation}/v1/home?profile_id={profile_id}", Home)

    async def positions(self, profile_id: str) -> Positions:
        return await self._send("GET", f"{self._services.playback}/v1/profiles/{profile_id}/positions", Positions)

    async def play(
        self, title_id: str, profile_id: str, device_id: str, device: DeviceLimits = ANY_DEVICE
    ) -> PlayAnswer:
        body = PlayRequest(title_id, profile_id, device_id, device=device)
        return await self._send("POST", f"{self._services.playback}/v1/play", PlayAnswer, body)

    async def beat(self, heartbeat_url: str, beat: PlayBeat) -> BeatAnswer:
        return await self._send("POST", heartbeat_url, BeatAnswer, beat)

    async def leave(self, answer: PlayAnswer) -> None:
        """Ends a session (`DELETE` its address)."""
        response = await self._client.delete(answer.heartbeat_url.rpartition("/")[0])
        if response.status_code >= 400:
            raise Refused(problem_of(response))

    async def manifest(self, url: str) -> str:
        response = await self._client.get(url)
        if response.status_code != 200:
            raise Refused(problem_of(response))
        return response.text

    def _keep(self, tokens: Tokens) -> None:
        self._access, self._refresh = tokens.access_token, tokens.refresh_token

    async def _send(self, method: str, url: str, answer: type[T], body: msgspec.Struct | None = None) -> T:
        headers = {"Content-Type": "application/json"}
        if self._access:
            headers["Authorization"] = f"Bearer {self._access}"
        content = None if body is None else msgspec.json.encode(body)
        response = await self._client.request(method, url, content=content, headers=headers)
        if response.status_code >= 400:
            raise Refused(problem_of(response))
        return msgspec.json.decode(response.content, type=answer)


def problem_of(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return Problem("about:blank", response.reason_phrase, response.status_code, response.text[:200])
