"""Plays asked of several processes of steering, and misses by site and hour from all that know of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chassis.client import ServiceClient
from chassis.errors import ProblemError, ServiceError
from chassis.routes import Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app
from contracts.decisions import Decision, PlayExplanation, PlayQuery
from contracts.plays import (
    AccountImport,
    Cause,
    FoundPlay,
    HourAccount,
    MeantHour,
    MeantList,
    PlayList,
    PlaySearch,
    PlayTold,
    SiteHour,
    SiteHourList,
)
from contracts.problems import ProblemCode
from contracts.reports import Purpose, ReportAnswer, Source, SourceTraffic
from control_plane.cli import app
from control_plane.config import SteeringSettings
from control_plane.site_hours import site_hours, wrong_accounts
from tests.browser.chromium import open_tab, unexpected
from tests.control_plane.plane import Plane, report, running

HOUR = "2026-11-21T09"


class SteeringStandIn:
    """One process of steering that knows some plays."""

    def __init__(self, *plays: str) -> None:
        self.known = plays
        self.hour = HOUR
        self.unread = 0
        self.asked_since: list[str] = []

    async def plays(self, call: Call[None, PlaySearch]) -> PlayList:
        if call.query.since == "soon":
            raise ProblemError(ProblemCode.BAD_QUERY, "since: 'soon' is no instant")
        found = tuple(
            FoundPlay(
                f"{HOUR}:00:0{name[-1]}.000Z", "10.1.0.0", "a", "10.1.0.0/16", "t", 1, {"a1": 1}, {"inside": 1}, name
            )
            for name in reversed(self.known)
        )
        return PlayList(
            found[: call.query.limit], "since", "until", whole=len(found) <= call.query.limit, unread=self.unread
        )

    async def told(self, call: Call[None, PlayQuery]) -> PlayTold:
        self.asked_since.append(call.query.since)
        if call.query.play not in self.known:
            raise ProblemError(ProblemCode.NOT_FOUND, "no decision is kept here")
        decision = Decision(f"{HOUR}:00:00.000Z", "10.1.0.0", 7, "a", "", (), play=call.query.play)
        if call.query.since == "later":
            raise ProblemError(ProblemCode.BAD_QUERY, "since: 'later' is no instant")
        return PlayTold((PlayExplanation(decision, {}),))

    async def meant(self, call: Call[None]) -> MeantList:
        return MeantList(f"{HOUR}:00:00.000Z", (MeantHour("a", self.hour, len(self.known), {"inside": 2}),))

    async def compose(self, service: Service) -> None:
        routes = Routes("steering")
        routes.get("/v1/plays", self.plays, summary="plays")
        routes.get("/v1/plays/told", self.told, summary="told")
        routes.get("/v1/meant", self.meant, summary="meant")
        service.listen(Listener("http", build_app(routes, metrics=service.metrics), Tcp("127.0.0.1", 0)))


@pytest.fixture
def stand_ins() -> tuple[SteeringStandIn, ...]:
    return SteeringStandIn("s-1", "s-3"), SteeringStandIn("s-2")


@pytest.fixture
async def plane(tmp_path: Path, stand_ins: tuple[SteeringStandIn, ...]) -> AsyncIterator[Plane]:
    """A control plane that asks two processes of steering, and a third that is not there."""
    async with AsyncExitStack() as stack:
        urls = []
        for stand_in in stand_ins:
            service = Service("steering", stand_in.compose, grace_s=1.0)
            urls.append((await stack.enter_async_context(service.running()))["http"])
        asked = SteeringSettings((*urls, "http://127.0.0.1:1"), timeout_s=5.0)
        yield await stack.enter_async_context(running(tmp_path, steering=asked))


async def test_plays_of_all_processes_are_one_list_and_who_is_silent_is_named(plane: Plane) -> None:
    found = await plane.operator.get("/v1/plays", PlayList, query={"limit": 2})
    assert [play.play for play in found.plays] == ["s-3", "s-2"]
    assert found.whole is False
    assert len(found.silent) == 1
    assert "127.0.0.1:1/v1/plays cannot be reached" in found.silent[0]


async def test_a_play_is_told_by_whoever_knows_it(plane: Plane) -> None:
    told = await plane.operator.get("/v1/plays/s-2", PlayTold)
    assert [one.decision.play for one in told.told] == ["s-2"]
    nobody = await plane.operator.get("/v1/plays/s-9", PlayTold)
    assert (nobody.told, len(nobody.silent)) == ((), 1), "the one that is silent may know it"


async def test_a_wrong_question_is_refused_in_the_words_of_steering(plane: Plane) -> None:
    with pytest.raises(ServiceError, match="since: 'soon' is no instant") as caught:
        await plane.operator.get("/v1/plays", PlayList, query={"since": "soon"})
    assert caught.value.status == 400


async def test_since_when_a_play_is_looked_for_is_handed_on(plane: Plane) -> None:
    with pytest.raises(ServiceError, match="since: 'later' is no instant") as caught:
        await plane.operator.get("/v1/plays/s-2", PlayTold, query={"since": "later"})
    assert caught.value.status == 400


async def test_lines_that_nobody_could_read_are_said_by_the_command(
    plane: Plane, stand_ins: tuple[SteeringStandIn, ...], tmp_path: Path
) -> None:
    stand_ins[0].unread, stand_ins[1].unread = 2, 1
    token = tmp_path / "token"
    token.write_text(plane.token)
    token.chmod(0o600)
    arguments = ["plays", "list", "--url", plane.urls["http"], "--token-file", str(token)]
    found = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert (found.exit_code, "3 lines are of a newer format or broken and are left out" in found.stderr) == (0, True)


@pytest.mark.system
async def test_the_page_asks_why_from_the_play_on_and_says_what_could_not_be_read(
    plane: Plane, stand_ins: tuple[SteeringStandIn, ...], tmp_path: Path
) -> None:
    stand_ins[0].unread = 3
    async with open_tab(tmp_path / "profile") as page:
        await page.open(f"{plane.urls['http']}/#token={plane.token}")
        await page.value("location.hash = '#/plays'")
        await page.until("document.querySelectorAll('main tbody tr').length === 3")
        assert "3 lines of the log are of a newer format or broken" in await page.value("document.body.innerText")
        await page.value("document.querySelector('main tbody button').click()")
        await page.until("document.querySelector('#told')?.innerText === 'Why s-3 went where it went'")
        assert unexpected(page.errors) == []
    assert stand_ins[0].asked_since == [f"{HOUR}:00:03.000Z"]


async def test_plays_and_misses_are_for_operators(plane: Plane) -> None:
    async with ServiceClient(plane.urls["http"]) as nobody:
        for path in ("/v1/plays", "/v1/plays/s-1", "/v1/misses"):
            with pytest.raises(ServiceError) as caught:
                await nobody.get(path, PlayList)
            assert caught.value.status == 401


async def test_a_control_plane_without_steering_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as alone:
        found = await alone.operator.get("/v1/plays", PlayList)
        assert (found.plays, found.silent) == ((), ("no process of steering is configured (steering.urls)",))


async def test_misses_are_what_reports_steering_and_joined_logs_say_of_an_hour(
    plane: Plane, stand_ins: tuple[SteeringStandIn, ...]
) -> None:
    await plane.add_site("a")
    box = await plane.add_box("a1")
    sources = (
        SourceTraffic(Source.HIT, Purpose.CLIENT, 9, 9000),
        SourceTraffic(Source.ORIGIN, Purpose.CLIENT, 1, 1000),
        SourceTraffic(Source.ORIGIN, Purpose.FILL, 1, 5000),
    )
    await box.post("/v1/appliance/report", report(1, sources=sources), ReportAnswer)
    (reported,) = (await plane.operator.get("/v1/misses", SiteHourList, query={"hours": 2})).hours
    for stand_in in stand_ins:
        stand_in.hour = reported.hour
    account = HourAccount("a", reported.hour, 10, {"inside": 9000, "content-miss": 1000}, {})
    for _ in range(2):
        await plane.operator.put("/v1/misses", AccountImport((account, HourAccount("", reported.hour, 1, {}, {}))))
    found = await plane.operator.get("/v1/misses", SiteHourList, query={"hours": 2, "site": "a"})
    assert found.hours == (
        SiteHour(
            "a",
            reported.hour,
            served={"hit": 9000, "origin": 1000},
            plays=3,
            meant={"inside": 4},
            requests=10,
            joined={"inside": 9000, "content-miss": 1000},
        ),
    )


async def test_accounts_that_are_none_are_refused_with_all_that_is_wrong(plane: Plane) -> None:
    wrong = AccountImport(
        (HourAccount("a", "yesterday", 1, {"luck": 1}, {}), HourAccount("a", HOUR, 1, {"other": -1}, {}))
    )
    with pytest.raises(ServiceError) as caught:
        await plane.operator.put("/v1/misses", wrong)
    assert caught.value.status == 422
    assert caught.value.problem is not None
    assert [line.partition(":")[0] for line in caught.value.problem.errors] == [
        "accounts[0].hour",
        "accounts[0].bytes",
        "accounts[1].bytes",
    ]


async def test_a_month_is_told_of_one_site_and_refused_of_all(plane: Plane) -> None:
    with pytest.raises(ServiceError, match="hours: at most 168 of all sites") as caught:
        await plane.operator.get("/v1/misses", SiteHourList, query={"hours": 169})
    assert caught.value.status == 400
    for query in ({"hours": 168}, {"hours": 720, "site": "a"}):
        await plane.operator.get("/v1/misses", SiteHourList, query=query)


def test_fewer_requests_than_none_are_refused() -> None:
    (wrong,) = wrong_accounts((HourAccount("a", HOUR, -1, {}, {}),))
    assert wrong == "accounts[0].requests: nothing is counted below nought"


def test_the_same_site_and_hour_twice_is_no_account() -> None:
    one = HourAccount("a", HOUR, 1, {}, {})
    assert wrong_accounts((one, one)) == (f"accounts[1]: site a and hour {HOUR} are there twice",)


def test_hours_come_in_the_order_of_time_whoever_knows_of_them() -> None:
    served = {("b", "2026-11-21T10"): {Source.HIT: 5}}
    meant = [MeantHour("a", "2026-11-21T10", 1, {"inside": 1}), MeantHour("a", "2026-11-21T10", 2, {"inside": 3})]
    joined = [HourAccount("", "2026-11-21T08", 4, {Cause.OTHER.value: 7}, {})]
    assert site_hours(served, meant, joined) == (
        SiteHour("", "2026-11-21T08", requests=4, joined={"other": 7}),
        SiteHour("a", "2026-11-21T10", plays=3, meant={"inside": 4}),
        SiteHour("b", "2026-11-21T10", served={"hit": 5}),
    )
