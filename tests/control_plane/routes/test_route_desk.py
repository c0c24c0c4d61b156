"""Routes on a running control plane: appliances report, operators import and allow, readers of the stream follow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chassis.client import ServiceClient
from chassis.clock import VirtualClock
from chassis.errors import ProblemError, ServiceError
from chassis.metrics import Metrics
from contracts.places import Appliance, ApplianceRegistration, ApplianceState, StateChange
from contracts.problems import ProblemCode
from contracts.routes import (
    InconsistencyList,
    LonelyList,
    QuarantineList,
    Route,
    RouteAnswer,
    RouteImport,
    RouteList,
    RoutePolicy,
    RouteRefusal,
    RouteReport,
    SourceFacts,
    SourceKind,
    SourceList,
    SourceState,
)
from contracts.world import Change
from control_plane.config import RouteSettings
from control_plane.routes.desk import RouteDesk
from control_plane.routes.metrics import RouteMetrics
from oca.routes.table import Heard
from oca.routes.telling import UNSETTLED_LOOKS, Telling
from steering.prefixes import HashedPrefixes, parse_address
from steering.world import Draft, World
from tests.control_plane.plane import Plane, running
from tests.control_plane.test_background import desk_of, with_one_box

PATIENCE_S = 20.0


class Reader:
    """A reader of the change stream, with the world that steering would make of it."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._draft = Draft(HashedPrefixes)
        self._news = asyncio.Event()
        self.firsts: list[Change] = []

    async def read(self, after: int = 0) -> None:
        query = {"after": after} if after else None
        is_first = True
        async for change in self._client.stream_lines("/v1/changes", Change, query=query):
            if is_first:
                self.firsts.append(change)
                is_first = False
            self._draft.add(change)
            self._news.set()

    @property
    def world(self) -> World:
        return self._draft.freeze()

    def sites(self, client: str) -> list[str]:
        return [a.site_id for match in self.world.covering(parse_address(client)) for a in match.announcements]

    async def sees(self, told: Callable[[Reader], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not told(self):
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def reader(plane: Plane) -> AsyncIterator[Reader]:
    made = Reader(await plane.service_caller("steering"))
    task = asyncio.create_task(made.read())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def say(
    box: ServiceClient, *cidrs: str, state: str = "1", after: str = "", gone: tuple[str, ...] = (), session: str = "r1"
) -> RouteAnswer:
    routes = tuple(Route(cidr, (64500,), 0, "192.0.2.1") for cidr in cidrs)
    report = RouteReport(session, True, state, after, routes, gone, "192.0.2.1", 64500)
    return await box.post("/v1/appliance/routes", report, RouteAnswer)


async def allow(plane: Plane, *ranges: str, site: str = "a", source: str = "", **more: int) -> None:
    policy = RoutePolicy(ranges, **more)  # type: ignore[arg-type]
    await plane.operator.put(f"/v1/sites/{site}/route-policy", policy, RoutePolicy, query={"source": source})


async def sources(plane: Plane) -> dict[str, SourceFacts]:
    return {one.id: one for one in (await plane.operator.get("/v1/routes/sources", SourceList)).sources}


def gauge(plane: Plane, name: str) -> float | None:
    return plane.service.metrics.registry.get_sample_value(name)


async def until(holds: Callable[[], bool]) -> None:
    """Looks again and again; fails after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.05)


async def test_what_an_appliance_hears_reaches_steering_and_what_is_withdrawn_leaves_it(
    plane: Plane, reader: Reader
) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await allow(plane, "81.2.0.0/15")
    assert not (await say(box, "81.2.0.0/16", "81.3.0.0/16", "85.0.0.0/8")).want_full
    await reader.sees(lambda it: it.sites("81.3.0.1") == ["a"])
    assert reader.sites("85.0.0.1") == []
    assert (await say(box, state="2", after="1", gone=("81.3.0.0/16",))) == RouteAnswer(False)
    await reader.sees(lambda it: it.sites("81.3.0.1") == [])
    assert reader.sites("81.2.0.1") == ["a"]
    assert (await say(box, state="9", after="7")).want_full
    facts = (await sources(plane))["a1/r1"]
    assert (facts.state, facts.heard, facts.taken, facts.quarantined, facts.peer_as) == (SourceState.UP, 2, 1, 1, 64500)
    quarantined = await plane.operator.get("/v1/routes/quarantine", QuarantineList)
    assert [(one.cidr, one.refusal) for one in quarantined.quarantined] == [("85.0.0.0/8", RouteRefusal.NOT_ALLOWED)]


async def test_a_policy_that_changes_judges_what_was_heard_before(plane: Plane, reader: Reader) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await say(box, "81.2.0.0/16")
    assert (await sources(plane))["a1/r1"].sentence.startswith("nothing of what it says is taken")
    await allow(plane, "81.2.0.0/16", source="a1/r1")
    await reader.sees(lambda it: it.sites("81.2.0.1") == ["a"])
    await plane.operator.delete("/v1/sites/a/route-policy", query={"source": "a1/r1"})
    await reader.sees(lambda it: it.sites("81.2.0.1") == [])


async def test_too_many_prefixes_leave_the_last_good_ones_standing(plane: Plane, reader: Reader) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await allow(plane, "81.0.0.0/8", maximum=2)
    await say(box, "81.2.0.0/16")
    await reader.sees(lambda it: it.sites("81.2.0.1") == ["a"])
    await say(box, "81.3.0.0/16", "81.4.0.0/16", "81.5.0.0/16", state="2")
    facts = (await sources(plane))["a1/r1"]
    assert (facts.state, facts.taken) == (SourceState.OVER_MAXIMUM, 1)
    assert "more than 2" in facts.sentence
    assert reader.sites("81.2.0.1") == ["a"]


async def test_routes_outlive_a_restart_and_the_next_word_of_the_appliance_brings_the_whole_table(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plane:
        await plane.add_site()
        box = await plane.add_box("a1")
        await allow(plane, "81.2.0.0/15")
        await say(box, "81.2.0.0/16", "81.3.0.0/16", "85.0.0.0/8")
        await say(box, state="2", after="1", gone=("81.3.0.0/16",))
    async with running(tmp_path) as plane:
        facts = (await sources(plane))["a1/r1"]
        assert (facts.heard, facts.taken, facts.quarantined, facts.peer) == (2, 1, 1, "192.0.2.1")
        reader = Reader(await plane.service_caller("steering"))
        task = asyncio.create_task(reader.read())
        await reader.sees(lambda it: it.sites("81.2.0.1") == ["a"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        box = plane.caller(plane.files_of("a1"))
        assert (await say(box, "81.3.0.0/16", state="3", after="2")).want_full
        assert not (await say(box, "81.3.0.0/16", state="3")).want_full
        assert (await sources(plane))["a1/r1"].taken == 1


async def test_an_import_is_judged_like_a_session_replaced_by_the_next_and_forgotten_on_demand(
    plane: Plane, reader: Reader
) -> None:
    await plane.add_site()
    await allow(plane, "81.0.0.0/8", source="noc")
    first = RouteImport(SourceKind.FILE, (Route("81.2.0.0/16"), Route("81.3.0.0/16"), Route("10.0.0.0/8")), "noc.txt")
    facts = await plane.operator.put("/v1/sites/a/routes/noc", first, SourceFacts)
    assert (facts.id, facts.taken, facts.quarantined) == ("a:noc", 2, 1)
    await reader.sees(lambda it: it.sites("81.3.0.1") == ["a"])
    second = RouteImport(SourceKind.GEO, (Route("81.2.0.0/16"),), "geo.mmdb")
    facts = await plane.operator.put("/v1/sites/a/routes/noc", second, SourceFacts)
    assert (facts.kind, facts.heard) == (SourceKind.GEO, 1)
    await reader.sees(lambda it: it.sites("81.3.0.1") == [] and len(it.world.guesses) == 1)
    await plane.operator.delete("/v1/routes/sources", query={"id": "a:noc"})
    await reader.sees(lambda it: len(it.world.guesses) == 0)


async def test_what_makes_no_sense_is_refused_with_its_reason(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    operator = plane.operator
    nothing = RouteImport(SourceKind.FILE, ())
    with pytest.raises(ServiceError) as caught:
        await say(box, "81.2.0.0/16", session="R 1")
    assert caught.value.code is ProblemCode.UNPROCESSABLE
    for path, body, code in (
        ("/v1/sites/b/routes/noc", nothing, ProblemCode.NOT_FOUND),
        ("/v1/sites/a/routes/NOC!", nothing, ProblemCode.UNPROCESSABLE),
        ("/v1/sites/a/routes/noc", RouteImport(SourceKind.BGP, ()), ProblemCode.UNPROCESSABLE),
        ("/v1/sites/b/route-policy", RoutePolicy(), ProblemCode.NOT_FOUND),
        ("/v1/sites/a/route-policy", RoutePolicy(("10.0.0.1/8",)), ProblemCode.UNPROCESSABLE),
    ):
        with pytest.raises(ServiceError) as caught:
            await operator.put(path, body)
        assert caught.value.code is code, path
    await allow(plane, "81.0.0.0/8", source="noc", maximum=1)
    two = RouteImport(SourceKind.FILE, (Route("81.2.0.0/16"), Route("81.3.0.0/16")))
    with pytest.raises(ServiceError, match="more than the 1"):
        await operator.put("/v1/sites/a/routes/noc", two)
    with pytest.raises(ServiceError) as caught:
        await operator.get("/v1/routes", RouteList, query={"q": "what"})
    assert caught.value.code is ProblemCode.BAD_QUERY
    with pytest.raises(ServiceError) as caught:
        await operator.delete("/v1/routes/sources", query={"id": "nobody"})
    assert caught.value.code is ProblemCode.NOT_FOUND


async def test_the_explorer_shows_origins_contradictions_and_what_has_no_alternative(plane: Plane) -> None:
    await plane.add_site()
    first, second = await plane.add_box("a1"), await plane.add_box("a2")
    await allow(plane, "81.0.0.0/8")
    await say(first, "81.2.0.0/16", "81.3.0.0/16")
    await say(second, "81.2.0.0/16")
    found = await plane.operator.get("/v1/routes", RouteList, query={"q": "81.2.3.4"})
    assert [(route.cidr, [one.source for one in route.heard]) for route in found.routes] == [
        ("81.2.0.0/16", ["a1/r1", "a2/r1"])
    ]
    contradictions = await plane.operator.get("/v1/routes/inconsistent", InconsistencyList)
    assert [(one.cidr, one.missing_at) for one in contradictions.inconsistencies] == [("81.3.0.0/16", ("a2",))]
    lonely = await plane.operator.get("/v1/routes/lonely", LonelyList)
    assert [one.cidr for one in lonely.lonely] == ["81.2.0.0/16", "81.3.0.0/16", "127.1.0.0/16"]


async def test_an_appliance_that_moves_or_retires_takes_its_routes_with_it(plane: Plane, reader: Reader) -> None:
    await plane.add_site()
    await plane.add_site("b")
    box = await plane.add_box("a1")
    for site in ("a", "b"):
        await allow(plane, "81.0.0.0/8", site=site)
    await say(box, "81.2.0.0/16")
    await reader.sees(lambda it: it.sites("81.2.0.1") == ["a"])
    await plane.operator.put("/v1/appliances/a1", ApplianceRegistration("a1", "b", "b"), Appliance)
    await reader.sees(lambda it: it.sites("81.2.0.1") == [])
    assert (await say(box, state="2", after="1")).want_full
    await say(box, "81.2.0.0/16", state="2")
    await reader.sees(lambda it: it.sites("81.2.0.1") == ["b"])
    await plane.operator.post("/v1/appliances/a1/state", StateChange(ApplianceState.RETIRED), Appliance)
    await reader.sees(lambda it: it.sites("81.2.0.1") == [])


async def test_an_rpki_list_that_changes_judges_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "roas.json"

    def write(asn: int) -> None:
        path.write_text(json.dumps({"roas": [{"prefix": "81.2.0.0/16", "maxLength": 16, "asn": asn}]}))

    write(64500)
    async with running(tmp_path, routes=RouteSettings(roas_file=path)) as plane:
        await plane.add_site()
        box = await plane.add_box("a1")
        await allow(plane, "81.2.0.0/16")
        await say(box, "81.2.0.0/16")
        assert (await sources(plane))["a1/r1"].taken == 1
        write(649990)
        await until(lambda: gauge(plane, "lowtide_control_plane_routes") == 0)
        path.write_text("{broken")
        await until(lambda: gauge(plane, "lowtide_control_plane_roas_unreadable") == 1)
        quarantined = await plane.operator.get("/v1/routes/quarantine", QuarantineList)
        assert [one.refusal for one in quarantined.quarantined] == [RouteRefusal.RPKI_INVALID]


async def test_a_lost_sessions_routes_are_held_for_the_time_that_is_set(tmp_path: Path) -> None:
    async with running(tmp_path, routes=RouteSettings(hold_s=0.5)) as plane:
        await plane.add_site()
        box = await plane.add_box("a1")
        await allow(plane, "81.2.0.0/16")
        await say(box, "81.2.0.0/16")
        await box.post("/v1/appliance/routes", RouteReport("r1", False, "", detail="hold timer expired"), RouteAnswer)
        await until(lambda: gauge(plane, "lowtide_control_plane_routes") == 0)
        facts = (await sources(plane))["a1/r1"]
        assert facts.state is SourceState.DOWN
        assert (facts.taken, "hold timer expired" in facts.sentence) == (0, True)


async def test_a_reader_that_comes_back_gets_only_what_it_missed(plane: Plane) -> None:
    await plane.add_site()
    client = await plane.service_caller("steering")
    first = Reader(client)
    task = asyncio.create_task(first.read())
    await first.sees(lambda it: it.world.number > 0 and "a" in it.world.sites)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    number = first.world.number
    await plane.add_site("b")
    again = Reader(client)
    task = asyncio.create_task(again.read(number))
    await again.sees(lambda it: "b" in it.world.sites)
    assert (again.firsts[0].resumed, again.firsts[0].number, "a" in again.world.sites) == (True, number, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ServiceError) as caught:
        async for _ in client.stream_lines("/v1/changes", Change, query={"after": "x"}):
            pass
    assert caught.value.code is ProblemCode.BAD_QUERY


async def test_a_maximum_that_is_raised_is_met_by_the_table_that_was_refused(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await allow(plane, "81.0.0.0/8", maximum=1)
    telling = Telling("boot")
    it = Heard("r1", True, {cidr: Route(cidr) for cidr in ("81.2.0.0/16", "81.3.0.0/16")})

    async def look() -> None:
        report = telling.report(it)
        if report is not None:
            telling.arrived(it, report, await box.post("/v1/appliance/routes", report, RouteAnswer))

    await look()
    assert (await sources(plane))["a1/r1"].state is SourceState.OVER_MAXIMUM
    await allow(plane, "81.0.0.0/8", maximum=2)
    for _ in range(UNSETTLED_LOOKS + 1):
        await look()
    facts = (await sources(plane))["a1/r1"]
    assert (facts.state, facts.taken) == (SourceState.UP, 2)


@pytest.mark.parametrize(
    "report",
    [
        RouteReport("r1", False, "", detail="x" * 2000),
        RouteReport("r1", True, "1", peer="x" * 200),
        RouteReport("r1", True, "1", announced=(Route("81.2.0.0/16", next_hop="x" * 200),)),
    ],
)
async def test_words_of_any_length_are_not_taken(plane: Plane, report: RouteReport) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    with pytest.raises(ServiceError) as caught:
        await box.post("/v1/appliance/routes", report, RouteAnswer)
    assert caught.value.code is ProblemCode.BAD_JSON


@asynccontextmanager
async def shell(folder: Path, roas_file: Path | None = None) -> AsyncIterator[RouteDesk]:
    """The desk of routes without its addresses, with the live box `a1` of site `a`."""
    metrics = Metrics("control-plane", process=False)
    async with desk_of(folder, VirtualClock(), counted=metrics) as desk:
        await with_one_box(desk)
        yield RouteDesk(desk, RouteSettings(roas_file=roas_file), RouteMetrics(metrics))


@pytest.mark.parametrize("is_removed", [False, True], ids=["retired", "removed"])
async def test_a_report_that_was_on_its_way_when_its_box_went_puts_nothing_back(
    tmp_path: Path, is_removed: bool
) -> None:
    async with shell(tmp_path) as routes:
        registry = routes.desk.registry
        box = registry.boxes["a1"]
        report = RouteReport("r1", True, "1", announced=(Route("81.2.0.0/16"),))
        await routes.take(box, report)
        if is_removed:
            registry.drop_box("a1")
        else:
            registry.set_state(box, ApplianceState.RETIRED)
        with pytest.raises(ProblemError) as caught:
            await routes.take(box, report)
        assert caught.value.code is ProblemCode.FORBIDDEN
        assert routes.book.sources == {}


async def test_an_rpki_list_that_is_written_again_and_says_the_same_judges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "roas.json"
    one = {"roas": [{"prefix": "81.2.0.0/16", "maxLength": 16, "asn": 64500}]}
    path.write_text(json.dumps(one))
    async with shell(tmp_path, path) as routes:
        await routes.load()
        box = routes.desk.registry.boxes["a1"]
        await routes.take(box, RouteReport("r1", True, "1", announced=(Route("81.2.0.0/16", (64500,)),)))
        source = routes.book.sources["a1/r1"]
        judged = source.refused
        path.write_text(json.dumps(one, indent=1))
        await routes.pass_time()
        assert source.refused is judged
        path.write_text(json.dumps({"roas": [{**one["roas"][0], "asn": 64501}]}))
        await routes.pass_time()
        assert source.refused is not judged
