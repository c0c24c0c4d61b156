"""What a browser's network says and its page cannot see: preflights, and the bodies of content steering's answers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tests.browser.observations import Steered

STEERING_PATH = "/v1/steering/"
MEDIA_PATH = "/media/"


class Browser(Protocol):
    """What is needed of a tab."""

    hear: Callable[[str, dict[str, Any]], None]

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]: ...


class _Replacement(msgspec.Struct, rename="upper"):
    host: str = ""


class _Clone(msgspec.Struct, rename={"id": "ID", "replacement": "URI-REPLACEMENT"}):
    id: str
    replacement: _Replacement


class _Manifest(msgspec.Struct, rename={"ttl_s": "TTL", "priority": "PATHWAY-PRIORITY", "clones": "PATHWAY-CLONES"}):
    """A steering manifest (RFC 8216bis §7.2), as far as results tell of it."""

    ttl_s: float = 300.0
    priority: tuple[str, ...] = ()
    clones: tuple[_Clone, ...] = ()


class Wire:
    """Listens to a tab from `listen` on. `preflights` are those for media."""

    def __init__(self, tab: Browser) -> None:
        self.preflights = 0
        self._tab = tab
        self._asked: dict[str, tuple[float, int]] = {}
        self._reading: list[asyncio.Task[Steered]] = []
        self._wall_s = 0.0

    async def listen(self) -> None:
        self._tab.hear = self._hear
        await self._tab.command("Network.enable")

    async def steered(self, clock_began_s: float) -> tuple[Steered, ...]:
        """What steering has answered so far, in milliseconds of the clock that began then (seconds since 1970)."""
        told = await asyncio.gather(*self._reading)
        return tuple(msgspec.structs.replace(one, at_ms=(one.at_ms / 1000 - clock_began_s) * 1000) for one in told)

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self._wall_s = params["wallTime"] - params["timestamp"]
            is_preflight = params["initiator"]["type"] == "preflight"
            self.preflights += is_preflight and MEDIA_PATH in params["request"]["url"]
        elif method == "Network.responseReceived" and STEERING_PATH in params["response"]["url"]:
            if params.get("type") != "Preflight":
                self._asked[params["requestId"]] = (params["timestamp"] + self._wall_s, params["response"]["status"])
        elif method == "Network.loadingFinished" and params["requestId"] in self._asked:
            at_s, status = self._asked.pop(params["requestId"])
            self._reading.append(asyncio.create_task(self._read(params["requestId"], at_s * 1000, status)))

    async def _read(self, request: str, at_ms: float, status: int) -> Steered:
        if status != 200:
            return Steered(at_ms, status)
        answer = await self._tab.command("Network.getResponseBody", requestId=request)
        body = base64.b64decode(answer["body"]) if answer["base64Encoded"] else answer["body"].encode()
        said = msgspec.json.decode(body, type=_Manifest)
        return Steered(
            at_ms, status, said.ttl_s, said.priority, {clone.id: clone.replacement.host for clone in said.clones}
        )
