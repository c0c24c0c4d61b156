"""The whole system is stopped and started again on the same folder, as `lowtide up` does after Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from contracts.ingest import TitleState
from contracts.overview import ApplianceOverview, Overview
from contracts.reports import Source
from demo.scenario import NETWORKS
from onebox.app import OneBox
from player.membership import Member
from player.playing import PlayReport
from player.viewer import watch
from tests.system.processes import left_behind, marked
from tests.system.town import FILLED, NEAP, SPRING, Home, Town, silent

LEFT_AT_S = 20.0
REPORTED_WITHIN_S = 15.0
SETTLE_S = 2.5
pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Restarted:
    """The same system before and after, with a member who had left a title in the middle."""

    town: Town
    home: Home
    left: PlayReport
    resumed: PlayReport
    """As soon as the system said that it is up."""
    before: Overview
    after: Overview
    addresses: dict[str, str]
    processes_before: dict[int, str]
    processes_between: dict[int, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def restarted(system: Town) -> AsyncIterator[Restarted]:
    home = await system.move_in(NETWORKS[1])
    left = await watch(
        home.member, SPRING.id, home.profile_id, "sofa", source_address=home.address, rate=8.0, until_s=LEFT_AT_S
    )
    await asyncio.sleep(SETTLE_S)
    before, addresses = await overview(system), addresses_of(system.box)
    await home.member.aclose()
    mark = str(system.box.root.parent)
    await lose_a_supervisor(system)
    running = marked(mark)
    await system.stop()
    between = left_behind(mark)
    system.box = OneBox(system.box.topology)
    await system.box.start(silent)
    home_again = await resumed(system, home)
    yield Restarted(system, home, left, home_again, before, await overview(system), addresses, running, between)


async def test_nothing_runs_between_the_two(restarted: Restarted) -> None:
    assert len(restarted.processes_before) >= len(restarted.town.box.processes)
    assert restarted.processes_between == {}


async def test_every_address_is_the_same(restarted: Restarted) -> None:
    assert addresses_of(restarted.town.box) == restarted.addresses


async def test_titles_are_still_published(restarted: Restarted) -> None:
    await restarted.home.log_in()
    shown = {title.id for title in (await restarted.home.member.titles(NETWORKS[1].region)).titles}
    assert {title.id for title in FILLED} <= shown
    async with restarted.town.ingest() as ingest:
        known = await ingest.known()
    assert {known[title.id].state for title in FILLED} == {TitleState.PUBLISHED}
    assert (restarted.after.titles, restarted.after.files) == (restarted.before.titles, restarted.before.files)


async def test_the_plan_is_in_force_and_its_orders_are_done(restarted: Restarted) -> None:
    for was, now in pairs(restarted):
        assert now.reported_plan_number == was.reported_plan_number > 0
        assert (now.fill.orders, now.fill.done, now.fill.failed) == (was.fill.orders, was.fill.done, 0)


async def test_appliances_hold_their_files_without_fetching_them_again(restarted: Restarted) -> None:
    for was, now in pairs(restarted):
        assert now.held_files >= was.held_files > 0, now.appliance.id
        assert now.held_bytes >= was.held_bytes > 0, now.appliance.id
        assert fetched(now) == fetched(was), now.appliance.id


async def test_a_member_goes_on_where_they_were_and_is_served_inside_at_once(restarted: Restarted) -> None:
    home, resumed = restarted.home, restarted.resumed
    assert resumed.failure == ""
    assert resumed.started_at_position_s == pytest.approx(restarted.left.position_s, abs=1.0)
    assert resumed.started_at_position_s == pytest.approx(LEFT_AT_S, abs=3.0)
    assert resumed.checked_bytes >= resumed.received_bytes > 0
    inside = {host for name in restarted.town.appliances for host in restarted.town.box.media_hosts(name)}
    assert set(resumed.hosts) <= inside
    positions = {at.title_id: at for at in (await home.member.positions(home.profile_id)).positions}
    assert positions[SPRING.id].finished


async def test_a_new_member_signs_up_and_plays(restarted: Restarted) -> None:
    home = await restarted.town.move_in(NETWORKS[0])
    played = await watch(
        home.member, NEAP.id, home.profile_id, "sofa", source_address=home.address, rate=8.0, until_s=16.0
    )
    assert played.failure == ""
    assert played.checked_bytes >= played.received_bytes > 0


async def lose_a_supervisor(town: Town) -> None:
    """Kills one, so that there are workers of the old generation when everything is stopped."""
    running = town.box.processes[town.appliances[0]]
    starts = running.starts
    os.kill(running.pid, signal.SIGKILL)
    async with asyncio.timeout(REPORTED_WITHIN_S):
        while running.starts == starts:  # noqa: ASYNC110  the box starts another one
            await asyncio.sleep(0.05)


async def resumed(town: Town, home: Home) -> PlayReport:
    """Logs in with the password of before and plays on another device, to the end."""
    home.member = Member(town.services, home.address)
    await home.log_in()
    return await watch(home.member, SPRING.id, home.profile_id, "kitchen", source_address=home.address, rate=8.0)


async def overview(town: Town) -> Overview:
    """What operators see, once every appliance has said that it holds what its plan wants."""
    async with town.operator() as operator, asyncio.timeout(REPORTED_WITHIN_S):
        while True:
            found = await operator.overview()
            if all(entry.connected and 0 < entry.fill.orders == entry.fill.done for entry in found.appliances):
                return found
            await asyncio.sleep(0.2)


def pairs(restarted: Restarted) -> list[tuple[ApplianceOverview, ApplianceOverview]]:
    """Each appliance before and after."""
    after = {entry.appliance.id: entry for entry in restarted.after.appliances}
    assert after.keys() == {entry.appliance.id for entry in restarted.before.appliances}
    return [(was, after[was.appliance.id]) for was in restarted.before.appliances]


def fetched(entry: ApplianceOverview) -> dict[Source, int]:
    """Bytes that orders brought in, by where they came from."""
    return {row.source: row.fill_bytes for row in entry.served if row.fill_bytes}


def addresses_of(box: OneBox) -> dict[str, str]:
    return {
        f"{name}/{listener}": url
        for name, running in box.processes.items()
        for listener, url in running.listening.items()
    }
