"""What operators call about pins, prepositions, feeds and nightly reports on the `http` listener, with their token."""

from __future__ import annotations

from aiohttp import web

from chassis.auth import Operator, SecretGuard
from chassis.routes import Call, Routes, json_response, principal_of, read_body
from contracts.nightly import NightlyList, NightlyReport
from contracts.pins import (
    FeedList,
    Pin,
    PinList,
    PinRequest,
    PrepositionList,
    PrepositionRequest,
    PrepositionStatus,
)
from control_plane.errors import contradiction, unknown
from control_plane.feeds import Feeds
from control_plane.nightly import Nightly
from control_plane.nightly_page import page
from control_plane.pins import Pins
from control_plane.prepositions import Prepositions

MAX_FEED_BYTES = 256 * 1024 * 1024
PAGE_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class WishApi:
    """Handlers; `add_to` is their table."""

    def __init__(self, pins: Pins, prepositions: Prepositions, feeds: Feeds, nightly: Nightly) -> None:
        self._pins = pins
        self._prepositions = prepositions
        self._feeds = feeds
        self._nightly = nightly

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        routes.get("/v1/pins", self.pins, summary="Pins and blocks, the oldest first", guard=operator)
        routes.post("/v1/pins", self.pin, summary="Place always, or never", guard=operator, status=201)
        routes.delete("/v1/pins/{number}", self.unpin, summary="Take a pin back", guard=operator)
        routes.get("/v1/prepositions", self.prepositions, summary="Orders out of cycle, newest first", guard=operator)
        routes.post(
            "/v1/prepositions", self.preposition, summary="Get something somewhere now", guard=operator, status=201
        )
        routes.delete("/v1/prepositions/{number}", self.cancel, summary="End an order out of cycle", guard=operator)
        routes.get("/v1/feeds", self.feeds, summary="Popularity feeds", guard=operator)
        routes.raw(
            "PUT",
            "/v1/feeds/{name}",
            self.put_feed,
            summary="CSV file,hour,views: replaces the feed",
            guard=operator,
            content_type="text/csv",
        )
        routes.delete("/v1/feeds/{name}", self.drop_feed, summary="Delete a feed no site names", guard=operator)
        routes.get("/v1/reports/nightly", self.reports, summary="Nightly reports, newest first", guard=operator)
        routes.get("/v1/reports/nightly/{site_id}/{day}", self.report, summary="One nightly report", guard=operator)
        routes.raw(
            "GET",
            "/v1/reports/nightly/{site_id}/{day}/page",
            self.report_page,
            summary="The same as a page that needs neither scripts nor the network",
            guard=operator,
            content_type="text/html",
        )

    async def pins(self, call: Call[None]) -> PinList:
        return await self._pins.listed()

    async def pin(self, call: Call[PinRequest]) -> Pin:
        return await self._pins.add(call.body, call.who(Operator).name)

    async def unpin(self, call: Call[None]) -> Pin:
        return await self._pins.remove(_number(call, "pin"), call.who(Operator).name)

    async def prepositions(self, call: Call[None]) -> PrepositionList:
        return await self._prepositions.listed()

    async def preposition(self, call: Call[PrepositionRequest]) -> PrepositionStatus:
        return await self._prepositions.make(call.body, call.who(Operator).name)

    async def cancel(self, call: Call[None]) -> PrepositionStatus:
        return await self._prepositions.cancel(_number(call, "preposition"), call.who(Operator).name)

    async def feeds(self, call: Call[None]) -> FeedList:
        return await self._feeds.listed()

    async def put_feed(self, request: web.Request) -> web.StreamResponse:
        raw = await read_body(request, MAX_FEED_BYTES)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise contradiction((f"byte {error.start}: is not UTF-8",)) from error
        who = principal_of(request, Operator).name
        return json_response(await self._feeds.put(request.match_info["name"], text, who))

    async def drop_feed(self, call: Call[None]) -> None:
        await self._feeds.drop(call.path["name"], call.who(Operator).name)

    async def reports(self, call: Call[None]) -> NightlyList:
        return await self._nightly.listed()

    async def report(self, call: Call[None]) -> NightlyReport:
        return await self._nightly.report(call.path["site_id"], call.path["day"])

    async def report_page(self, request: web.Request) -> web.StreamResponse:
        found = await self._nightly.report(request.match_info["site_id"], request.match_info["day"])
        headers = {"Content-Security-Policy": PAGE_SECURITY, "Referrer-Policy": "no-referrer"}
        return web.Response(text=page(found), content_type="text/html", charset="utf-8", headers=headers)


def _number(call: Call[None], what: str) -> int:
    text = call.path["number"]
    if not text.isdecimal():
        raise unknown(what, text)
    return int(text)
