"""Two workers under one roof: one egress cap, one number of sessions, one memory of who runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from oca.config import Capacity
from tests.oca.supervisor.box import FILE, Box, box, settings_of, stock, until_metric

CAP_BPS = 24_000_000
CLIENTS = 12


class Line:
    """One connection of one session."""

    def __init__(self, appliance: Box, session: str) -> None:
        self._appliance = appliance
        self._path = f"/~{appliance.keys.token(session=session)}{FILE.name.path}"

    async def open(self) -> Line:
        self.reader, self.writer = await asyncio.open_connection(*self._appliance.address)
        return self

    async def ask(self, first: int, last: int) -> int:
        """The status; the body is read and compared when it is one of media."""
        host, port = self._appliance.address
        lines = f"GET {self._path} HTTP/1.1\r\nHost: {host}:{port}\r\nRange: bytes={first}-{last}\r\n\r\n"
        self.writer.write(lines.encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ", 2)[1])
        length = int(next(line.split(":")[1] for line in head.split("\r\n") if line.startswith("Content-Length")))
        body = await self.reader.readexactly(length)
        assert status != 206 or body == FILE.data[first : last + 1]
        return status

    def close(self) -> None:
        self.writer.close()


async def test_two_workers_together_stay_below_the_cap_over_any_ten_seconds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, egress_bps=CAP_BPS)
    with box(settings, tmp_path, stock(settings, [FILE])) as appliance:
        await until_metric(appliance, "lowtide_oca_workers_ready", 2)
        lines = [await Line(appliance, f"s{number}").open() for number in range(CLIENTS)]
        began = time.monotonic()
        arrived: list[tuple[float, int]] = []

        async def watch(line: Line, number: int) -> None:
            step = (25_000, 100_000, 400_000)[number % 3]
            while time.monotonic() - began < 12.0:
                first = number * 1000
                assert await line.ask(first, first + step - 1) == 206
                arrived.append((time.monotonic() - began, step))

        await asyncio.gather(*(watch(line, number) for number, line in enumerate(lines)))
        for line in lines:
            line.close()
        worst = max(
            sum(count for at, count in arrived if start <= at < start + 10) for start in (0.0, 0.5, 1.0, 1.5, 2.0)
        )
        assert worst <= 1.05 * 10 * CAP_BPS / 8 + CLIENTS * 400_000, "what ended in the window may have begun before it"
        taken = await appliance.metric("lowtide_oca_egress_capped_bytes_total")
        assert taken <= 1.05 * (time.monotonic() - began) * CAP_BPS / 8
        assert taken == sum(count for _at, count in arrived)
        assert taken >= 0.5 * 12 * CAP_BPS / 8, "most of the cap was used"


async def test_a_running_session_is_known_to_both_workers_and_a_new_one_to_none(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, capacity=Capacity(sessions=1))
    with box(settings, tmp_path, stock(settings, [FILE])) as appliance:
        await until_metric(appliance, "lowtide_oca_workers_ready", 2)
        running = await Line(appliance, "running").open()
        assert await running.ask(0, 9) == 206
        await until_metric(appliance, "lowtide_oca_sessions", 1)
        await until_metric(appliance, "lowtide_oca_workers_shedding", 2)
        new = [await Line(appliance, f"new-{number}").open() for number in range(8)]
        assert [await line.ask(0, 9) for line in new] == [503] * 8
        again = [await Line(appliance, "running").open() for _ in range(8)]
        assert [await line.ask(0, 9) for line in again] == [206] * 8
        assert await appliance.metric('lowtide_oca_requests_total{outcome="shed"}') == 8
        assert await appliance.metric('lowtide_oca_sessions_shed_total{reason="sessions"}') == 8
        for line in (running, *new, *again):
            line.close()
