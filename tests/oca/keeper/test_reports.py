"""Reports: nothing counted twice, nothing lost, soon after a change; heartbeat, keys and state."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from chassis.clock import VirtualClock
from contracts.keys import KeySet, KeyUse
from contracts.places import ApplianceState
from contracts.plans import SourceKind
from control_plane.ingestion import Reported
from oca.keeper.following import Pulse
from oca.link.files import Contact, Desired, Listening
from oca.link.messages import Reload, ReloadWhat, Served
from tests.oca.keeper.lab import MIB, KeeperLab, keeper_lab, until
from tests.oca.keeper.plane import SigningKey

KEY = "vod|/media/t/hd/v.mp4"


def served(requests: int, count: int, *, connections: int = 3) -> Served:
    return Served(
        clients=((KEY, requests, count),),
        peers=((KEY, 1, 10),),
        hit_requests=requests,
        hit_bytes=count,
        miss_requests=0,
        miss_bytes=0,
        connections=connections,
        networks=(("192.0.2.0/24", requests, count),),
    )


async def test_what_workers_served_is_reported_by_file_once(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        workers = [await lab.worker(0), await lab.worker(1)]
        for worker in workers:
            worker.send(served(2, 1000))
        await until(lambda: lab.plane.traffic[KEY] == 2000)
        await until(lambda: lab.plane.reports[-1].client_requests == 4)
        networks = [row for report in lab.plane.reports for row in report.networks]
        assert sum(row.served_bytes for row in networks) == 2000
        assert {row.network for row in networks} == {"192.0.2.0/24"}
        report = lab.plane.reports[-1]
        assert (report.client_bytes, report.connections) == (2000, 6)
        rows = {(row.source.value, row.purpose.value): (row.requests, row.bytes) for row in report.sources}
        assert rows == {("hit", "client"): (4, 2000), ("hit", "peering"): (2, 20)}
        assert report.egress_bps == 8 * 2020 / 10
        await asyncio.sleep(0.7)
        assert lab.plane.traffic[KEY] == 2000


async def test_an_answer_that_is_lost_counts_nothing_twice_also_over_a_restart(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.reports)
        lab.plane.lose_answers = 1_000
        worker.send(served(1, 500))
        await until(lambda: lab.plane.traffic[KEY] == 500)
        worker.send(served(1, 70))
        await until(lambda: json.loads((lab.state_dir / "spool.json").read_text())["under_way"] is not None)
        await worker.close()
        await lab.stop()
        lab.plane.lose_answers = 0
        await lab.start()
        await until(lambda: lab.plane.traffic[KEY] == 570)
        await asyncio.sleep(0.7)
        assert lab.plane.traffic[KEY] == 570
        assert len({report.boot_id for report in lab.plane.reports}) == 2
        assert lab.plane.reported.holdings_known


async def test_while_the_control_plane_is_away_traffic_waits_on_disk(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        keeper = await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.reports)
        lab.plane.away = True
        for _ in range(5):
            worker.send(served(1, 100))
        await until(lambda: keeper.accounts.client_requests == 5)
        await worker.close()
        await lab.stop()
        assert lab.plane.traffic[KEY] == 0
        lab.plane.away = False
        await lab.start()
        await until(lambda: lab.plane.traffic[KEY] == 500)


async def test_what_gathers_while_the_control_plane_is_away_survives_a_killed_keeper(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        keeper = await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.reports)
        lab.plane.away = True
        failed = keeper.metrics.reports.labels("failed")
        await until(lambda: failed._value.get() >= 1)
        for _ in range(5):
            worker.send(served(1, 100))
        await until(lambda: sum(row["served_bytes"] for row in _kept(lab)["gathered"]) == 500)


def _kept(lab: KeeperLab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lab.state_dir / "spool.json").read_text())
    return found


async def test_beats_that_end_end_the_stream(tmp_path: Path) -> None:
    """A stream on which nobody beats any more must not look alive."""

    class Stream:
        def __init__(self) -> None:
            self.sent = 0

        async def send_str(self, _text: str) -> None:
            self.sent += 1

        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> object:
            await asyncio.Event().wait()
            raise AssertionError("nobody wakes it")

    class Line:
        streams: ClassVar[list[Stream]] = []

        @asynccontextmanager
        async def heartbeat(self) -> AsyncIterator[Stream]:
            self.streams.append(Stream())
            yield self.streams[-1]

    def standing() -> tuple[float, bool, bool]:
        if len(Line.streams) == 1 and Line.streams[0].sent == 2:
            raise ConnectionResetError("the socket went away under the beat")
        return 0.0, True, False

    clock = VirtualClock()
    pulse = Pulse(Line(), 1.0, standing, lambda _nudge: None, clock)  # type: ignore[arg-type]
    running = asyncio.create_task(pulse.run())
    await clock.advance(5.0)
    assert Line.streams[0].sent == 2
    assert len(Line.streams) == 2
    assert Line.streams[1].sent >= 2
    assert pulse.connected
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_address_that_nobody_can_dial_is_not_reported(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        await until(lambda: lab.plane.reports[-1].player_urls == ("http://127.0.0.1:1",))
        bound = Listening("http://0.0.0.0:1", "https://[::]:2", "http://127.0.0.1:3")
        (lab.state_dir / "run" / "listening.json").write_bytes(msgspec.json.encode(bound))
        await until(lambda: (lab.plane.reports[-1].player_urls, lab.plane.reports[-1].peer_url) == ((), ""))


async def test_holdings_go_in_full_once_and_then_as_changes(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.reports)
        assert lab.plane.reports[0].holdings_full
        await worker.bytes_of(file)
        await until(lambda: any(h.present_bytes == MIB for r in lab.plane.reports for h in r.holdings))
        await until(lambda: lab.plane.reports[-1].holdings == ())
        assert [report.holdings_full for report in lab.plane.reports[1:]].count(True) == 0
        lab.plane.reported = Reported()
        await until(lambda: lab.plane.reports[-1].holdings_full)
        assert [holding.key for holding in lab.plane.reports[-1].holdings] == [file.key]


async def test_beats_say_whether_somebody_serves(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        await until(lambda: lab.plane.beats)
        assert not lab.plane.beats[-1].serving
        worker = await lab.worker()
        await until(lambda: lab.plane.beats[-1].serving)
        await worker.close()
        await until(lambda: not lab.plane.beats[-1].serving)
        await until(lambda: "no-workers" in lab.plane.reports[-1].reasons)
        assert lab.plane.reports[-1].score == 0.0


async def test_one_worker_that_sheds_makes_beats_and_reports_say_so_until_it_stops_or_leaves(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        shedding, quiet = await lab.worker(0), await lab.worker(1)
        await until(lambda: lab.plane.beats and not lab.plane.beats[-1].shedding)
        quiet.send(served(1, 10))
        shedding.send(msgspec.structs.replace(served(0, 0), shedding="egress"))
        await until(lambda: lab.plane.beats[-1].shedding)
        await until(lambda: "shedding-new-sessions" in lab.plane.reports[-1].reasons)
        assert lab.plane.beats[-1].serving, "it serves on"
        shedding.send(served(1, 10))
        await until(lambda: not lab.plane.beats[-1].shedding)
        shedding.send(msgspec.structs.replace(served(0, 0), shedding="event-loop-lag"))
        await until(lambda: lab.plane.beats[-1].shedding)
        await shedding.close()
        await until(lambda: not lab.plane.beats[-1].shedding)


async def test_a_nudge_brings_keys_state_and_tells_the_workers(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.beats)
        await until(lambda: len(worker.reloads) == 3)
        worker.reloads.clear()
        lab.plane.keys = KeySet(2, (*lab.plane.keys.keys, SigningKey("m-2", KeyUse.MEDIA).public))
        lab.plane.state = "draining"
        await lab.plane.nudge()
        await until(lambda: {Reload(ReloadWhat.KEYS), Reload(ReloadWhat.STATE)} <= set(worker.reloads))
        kept = msgspec.json.decode((lab.state_dir / "keys.json").read_bytes(), type=KeySet)
        assert set(kept.of(KeyUse.MEDIA)) == {"m-1", "m-2"}
        desired = msgspec.json.decode((lab.state_dir / "desired.json").read_bytes(), type=Desired)
        assert desired.state is ApplianceState.DRAINING
        await until(lambda: lab.plane.reports[-1].state == "draining")


async def test_contact_is_kept_while_the_control_plane_answers_and_no_longer(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        began = time.time()
        await lab.start()
        await until((lab.state_dir / "contact.json").exists)
        first = msgspec.json.decode((lab.state_dir / "contact.json").read_bytes(), type=Contact)
        assert began <= first.at <= time.time()
        await lab.stop()
        lab.plane.away = True
        await lab.start()
        asked = lab.plane.asked["/v1/keys"]
        await until(lambda: lab.plane.asked["/v1/keys"] > asked)
        kept = msgspec.json.decode((lab.state_dir / "contact.json").read_bytes(), type=Contact)
        assert kept == first, "a restart without an answer is no contact"


async def test_enrolment_is_said_to_workers_and_the_code_is_used_up(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        right = lab.plane.ca_pem
        lab.write_code()
        lab.plane.away = True
        keeper = await lab.start(joined=False)
        worker = await lab.worker()
        ended = await worker.end(worker.want(KEY))
        assert (ended.__class__.__name__, getattr(ended, "why", "")) == ("Failed", "NO_DIGESTS")
        assert not keeper.status().ready
        worker.reloads.clear()
        lab.plane.away = False
        await until(keeper.connection.enrolled.is_set)
        await until(lambda: Reload(ReloadWhat.TLS) in worker.reloads)
        assert keeper.connection.appliance_id == "a-1"
        assert not (tmp_path / "enrol.code").exists()
        assert (lab.state_dir / "tls" / "ca.pem").read_text() == right


async def test_a_code_that_is_put_right_is_taken_without_a_restart(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        good = lab.plane.code
        lab.plane.code_secret = "WRONG"
        keeper = await lab.start(joined=False)
        await until(lambda: lab.plane.asked["/v1/enrol"] >= 1)
        assert not keeper.connection.enrolled.is_set()
        (tmp_path / "enrol.code").write_text(good)
        await until(keeper.connection.enrolled.is_set)


async def test_a_report_that_is_refused_holds_nothing_up_and_its_loss_is_counted(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        keeper = await lab.start()
        worker = await lab.worker()
        await until(lambda: lab.plane.reports)
        lab.plane.refuse = 1
        worker.send(served(1, 40))
        await until(lambda: lab.plane.refuse == 0)
        worker.send(served(1, 2))
        await until(lambda: lab.plane.traffic[KEY] in (2, 42))
        lost = b'lowtide_keeper_traffic_rows_dropped_total{what="refused"} 1.0' in keeper.metrics.text()
        assert lost == (lab.plane.traffic[KEY] == 2)
        await until(lambda: lab.plane.reported.holdings_known)
