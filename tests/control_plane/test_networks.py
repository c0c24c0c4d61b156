"""What appliances served to which client network, from reports to the operator."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.reports import OTHER_NETWORKS, NetworkList, NetworkTraffic, ReportAnswer
from control_plane.archive.reports import DAY_S, MOST_NETWORKS
from tests.control_plane.plane import Plane, report, running


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with running(tmp_path) as found:
        yield found


def today() -> int:
    """An hour of today that has begun."""
    return int(time.time()) // DAY_S * DAY_S


async def sent(box: ServiceClient, sequence: int, *rows: NetworkTraffic) -> None:
    await box.post("/v1/appliance/report", report(sequence, networks=rows), ReportAnswer)


async def listed(plane: Plane, site: str = "a", **query: int) -> NetworkList:
    return await plane.operator.get(f"/v1/sites/{site}/networks", NetworkList, query=query)


async def test_networks_are_summed_by_site_with_most_bytes_first(plane: Plane) -> None:
    await plane.add_site()
    first, second = await plane.add_box("a1"), await plane.add_box("a2")
    await sent(first, 1, NetworkTraffic("192.0.2.0/24", today(), 2, 700), NetworkTraffic(OTHER_NETWORKS, today(), 1, 5))
    await sent(first, 1, NetworkTraffic("192.0.2.0/24", today(), 2, 700))
    await sent(first, 2, NetworkTraffic("192.0.2.0/24", today(), 1, 100))
    await sent(
        second, 1, NetworkTraffic("192.0.2.0/24", today(), 1, 1), NetworkTraffic("2001:db8::/48", today(), 9, 900)
    )
    found = await listed(plane)
    rows = [(row.network, row.requests, row.served_bytes, row.appliances) for row in found.networks]
    assert rows == [
        ("2001:db8::/48", 9, 900, ("a2",)),
        ("192.0.2.0/24", 4, 801, ("a1", "a2")),
        (OTHER_NETWORKS, 1, 5, ("a1",)),
    ]
    assert (found.total_requests, found.total_bytes) == (14, 1706)
    short = await listed(plane, limit=1)
    assert (len(short.networks), short.total_bytes) == (1, 1706)


async def test_days_before_those_asked_for_do_not_count(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    rows = [NetworkTraffic("192.0.2.0/24", today() - days * DAY_S, 1, 10) for days in range(4)]
    await sent(box, 1, *rows)
    assert (await listed(plane, days=1)).total_bytes == 10
    assert (await listed(plane, days=3)).total_bytes == 30


async def test_an_appliance_cannot_fill_the_record_with_networks(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    rows = [
        NetworkTraffic(f"10.{number // 256}.{number % 256}.0/24", today(), 1, number) for number in range(MOST_NETWORKS)
    ]
    await sent(box, 1, *rows)
    await sent(box, 2, NetworkTraffic("192.0.2.0/24", today(), 1, 7), NetworkTraffic("10.0.1.0/24", today(), 1, 10**9))
    found = await listed(plane, limit=10_000)
    assert found.networks[0].network == "10.0.1.0/24"
    assert found.total_bytes == sum(range(MOST_NETWORKS)) + 7 + 10**9
    assert "192.0.2.0/24" not in {row.network for row in found.networks}


async def test_an_unknown_site_and_wrong_rows_are_refused(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    with pytest.raises(ServiceError) as unknown:
        await listed(plane, "nowhere")
    assert unknown.value.status == 404
    with pytest.raises(ServiceError) as wrong:
        await sent(box, 1, NetworkTraffic("192.0.2.0/24", today() + 30 * DAY_S, 1, -1))
    assert wrong.value.status == 422
    assert wrong.value.problem is not None
    assert len(wrong.value.problem.errors) == 2
