"""What is heard of a browser's network, from events as Chromium sends them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.wire import Wire

MEDIA = "http://127.1.0.11:1/~t/media/film/sd/v-360.mp4"
STEERING = "http://127.0.0.1:2/v1/steering/s-1?s=x"
SAID = b'{"VERSION":1,"TTL":5,"RELOAD-URI":"/v1","PATHWAY-PRIORITY":["a2","origin"],"PATHWAY-CLONES":[{"BASE-ID":"pathway-1","ID":"a2","URI-REPLACEMENT":{"HOST":"127.1.0.12"}}]}'


class FakeTab:
    """Answers with one body, whatever is asked."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.hear: Callable[[str, dict[str, Any]], None] = print

    async def command(self, method: str, **_parameters: Any) -> dict[str, Any]:
        return {"body": base64.b64encode(self.body).decode(), "base64Encoded": True} if "Body" in method else {}


def asked(tab: FakeTab, url: str, initiator: str = "script") -> None:
    request = {"requestId": "1", "timestamp": 100.0, "wallTime": 5000.0}
    tab.hear("Network.requestWillBeSent", request | {"request": {"url": url}, "initiator": {"type": initiator}})


def answered(tab: FakeTab, url: str, status: int) -> None:
    tab.hear(
        "Network.responseReceived", {"requestId": "1", "timestamp": 101.0, "response": {"url": url, "status": status}}
    )
    tab.hear("Network.loadingFinished", {"requestId": "1"})


async def test_preflights_for_media_are_counted_and_no_others() -> None:
    tab = FakeTab(b"")
    wire = Wire(tab)
    await wire.listen()
    asked(tab, MEDIA)
    asked(tab, MEDIA, "preflight")
    asked(tab, "http://127.0.0.1:3/v1/play", "preflight")
    assert wire.preflights == 1


async def test_what_steering_says_is_read_and_put_on_the_pages_clock() -> None:
    tab = FakeTab(SAID)
    wire = Wire(tab)
    await wire.listen()
    asked(tab, STEERING)
    answered(tab, STEERING, 200)
    (told,) = await wire.steered(clock_began_s=4990.0)
    assert told.at_ms == pytest.approx(11_000)
    assert (told.status, told.ttl_s, told.priority) == (200, 5.0, ("a2", "origin"))
    assert told.clones == {"a2": "127.1.0.12"}


async def test_a_refusal_of_steering_keeps_its_status() -> None:
    tab = FakeTab(b"no manifest at all")
    wire = Wire(tab)
    await wire.listen()
    asked(tab, STEERING)
    answered(tab, STEERING, 403)
    assert [told.status for told in await wire.steered(0.0)] == [403]
