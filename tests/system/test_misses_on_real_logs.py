"""The real steering log joined with the real access logs of appliances and origin: every byte is accounted for, and by its cause."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from chassis.client import ServiceClient
from contracts.members import SignUp
from contracts.overview import ApplianceOverview
from contracts.places import Appliance, ApplianceState, StateChange
from contracts.plays import Cause, HourAccount, PlayList, PlayTold, SiteHourList
from contracts.reports import Source
from control_plane.cli import app as operator
from demo.operator import read_token
from player.membership import Member
from player.playing import PlayReport
from player.viewer import watch
from steering.cli import app
from tests.system.small_system import FILMS, SmallSystem, open_small_system

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]
WITHIN_S = 20.0
UNTIL_S = 12.0
FILM = FILMS[0]
ORIGIN = "origin"


class Town:
    """A system with one film that nobody holds yet, and what its logs and counters say."""

    def __init__(self, system: SmallSystem) -> None:
        self.system = system
        self.root = system.box.root

    async def play(self, network: int, viewer: int) -> PlayReport:
        where = self.system.networks[network]
        member = Member(self.system.services, where.address(viewer))
        try:
            email = f"misses-{network}-{viewer}@example.org"
            await member.sign_up(SignUp(email, "a long tide comes slowly", where.region, "standard"))
            profile = (await member.account()).profiles[0]
            return await watch(
                member,
                FILM.title.id,
                profile.id,
                "sofa",
                source_address=where.address(viewer),
                rate=8.0,
                until_s=UNTIL_S,
            )
        finally:
            await member.aclose()

    def access_log(self, name: str) -> Path:
        return self.root / "origin" / "logs" if name == ORIGIN else self.root / "oca" / name / "state" / "logs"

    def logged(self, name: str) -> tuple[int, int]:
        """(bytes sent to players, bytes of them that had to be fetched), as the access log has them."""
        rows = [row for row in self.rows(name) if not row.get("peer")]
        return sum(row["bytes"] for row in rows), sum(row.get("missed_bytes", 0) for row in rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        found = self.access_log(name).glob("access*.jsonl")
        return [msgspec.json.decode(line) for path in found for line in path.read_bytes().splitlines()]

    def packaged(self) -> int:
        """Bytes of packaged manifests: playback fetches them for its plays, and nobody ranks them."""
        return sum(row["bytes"] for row in self.rows(ORIGIN) if row.get("file") in ("manifest.mpd", "master.m3u8"))

    async def counted(self) -> dict[str, tuple[int, int]]:
        """The same as the control plane and the origin's metrics count it."""
        overview = await self.system.operator.overview()
        found = {one.appliance.id: _counters(one) for one in overview.appliances}
        async with httpx.AsyncClient() as client:
            lines = (await client.get(f"{self.system.box.url('origin')}/metrics")).text.splitlines()
        sent = next(line for line in lines if line.startswith('lowtide_origin_media_bytes_total{caller="player"}'))
        return found | {ORIGIN: (int(float(sent.rpartition(" ")[2])), 0)}

    async def settled(self) -> dict[str, tuple[int, int]]:
        """What is counted, as soon as logs and counters say the same."""
        counted: dict[str, tuple[int, int]] = {}
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while (logged := {name: self.logged(name) for name in counted}) != counted or not counted:
            assert asyncio.get_running_loop().time() < deadline, f"counted {counted}, logged {logged}"
            await asyncio.sleep(0.2)
            counted = await self.counted()
        return counted

    def accounts(self) -> list[HourAccount]:
        """What `lowtide steering misses` says."""
        logs = [f"--access-log={name}={self.access_log(name)}" for name in (*self.system.appliances, ORIGIN)]
        log = self.root / "steering" / "decisions"
        done = CliRunner().invoke(app, ["misses", "--steering-log", str(log), *logs, "--json"])
        assert done.exit_code == 0, done.output
        return [msgspec.json.decode(line, type=HourAccount) for line in done.stdout.splitlines()]

    async def drain(self, box: str) -> None:
        url, token = self.system.box.url("control-plane"), read_token(self.system.box.operator_token_file)
        async with ServiceClient(url, bearer=token) as client:
            await client.post(f"/v1/appliances/{box}/state", StateChange(ApplianceState.DRAINING), Appliance)


def _counters(one: ApplianceOverview) -> tuple[int, int]:
    hit = sum(row.client_bytes for row in one.served if row.source is Source.HIT)
    return one.client_bytes, one.client_bytes - hit


def by_cause(accounts: Iterable[HourAccount], site: str) -> dict[Cause, int]:
    mine = [account for account in accounts if account.site == site]
    return {cause: sum(account.bytes[cause.value] for account in mine) for cause in Cause}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with open_small_system(tmp_path_factory.mktemp("misses"), [FILM], filled=False) as system:
        for name in system.appliances:
            await system.until_live(name)
        yield Town(system)


async def test_every_byte_has_its_cause_before_a_fill_after_it_in_a_drain_and_when_only_the_origin_is_left(
    town: Town, tmp_path: Path
) -> None:
    """One play each. What is not told apart by a cause would be told as another one's."""
    await town.play(1, 1)
    cold = await town.settled()
    causes = by_cause(town.accounts(), "b")
    assert (causes[Cause.CONTENT], causes[Cause.INSIDE]) == (cold["b1"][1], cold["b1"][0] - cold["b1"][1])
    assert causes[Cause.CONTENT] > 0

    await town.system.fill()
    await town.play(1, 2)
    warm = await town.settled()
    causes = by_cause(town.accounts(), "b")
    assert warm["b1"][1] == cold["b1"][1], "nothing had to be fetched any more"
    assert (causes[Cause.CONTENT], causes[Cause.INSIDE]) == (warm["b1"][1], warm["b1"][0] - warm["b1"][1])

    await town.drain("b1")
    await town.play(1, 3)
    drained = await town.settled()
    elsewhere = drained["a1"][0] + drained["a2"][0]
    causes = by_cause(town.accounts(), "b")
    assert elsewhere > 0
    assert causes == {
        Cause.INSIDE: warm["b1"][0] - warm["b1"][1],
        Cause.CONTENT: warm["b1"][1],
        Cause.HEALTH: elsewhere,
        Cause.OTHER: town.packaged(),
    }

    await town.drain("a1")
    await town.drain("a2")
    await town.play(1, 4)
    last = await town.settled()
    media = last[ORIGIN][0] - town.packaged()
    assert media > 0
    assert by_cause(town.accounts(), "b")[Cause.HEALTH] == elsewhere + media
    accounts = town.accounts()
    assert sum(sum(account.bytes.values()) for account in accounts) == sum(sent for sent, _ in last.values())
    await the_operator_sees_them(town, accounts, tmp_path)


async def the_operator_sees_them(town: Town, accounts: list[HourAccount], folder: Path) -> None:
    """The portal's address has the joined figures beside those of reports and of steering, and knows the plays."""
    file = folder / "accounts.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(account) + b"\n" for account in accounts))
    box = town.system.box
    where = ["--url", box.url("control-plane"), "--token-file", str(box.operator_token_file)]
    done = await asyncio.to_thread(CliRunner().invoke, operator, ["misses", "import", str(file), *where])
    assert (done.exit_code, done.stderr) == (0, "")
    async with ServiceClient(box.url("control-plane"), bearer=read_token(box.operator_token_file)) as client:
        found = await client.get("/v1/misses", SiteHourList, query={"site": "b"})
        assert found.silent == ()
        for cause in Cause:
            shown = sum(hour.joined.get(cause.value, 0) for hour in found.hours)
            assert shown == by_cause(accounts, "b")[cause]
        assert sum(hour.plays for hour in found.hours) == 4
        meant = {name for hour in found.hours for name, count in hour.meant.items() if count}
        assert meant == {"inside", "content-miss", "health-miss"}
        reported = sum(sum(hour.served.values()) for hour in found.hours)
        assert reported >= (await town.counted())["b1"][0], "what was fetched ahead of a player is reported, too"
        plays = await client.get("/v1/plays", PlayList, query={"client": town.system.networks[1].address(3)})
        assert [play.site for play in plays.plays] == ["b"] * 4
        told = await client.get(f"/v1/plays/{plays.plays[1].play}", PlayTold)
        assert any("b1 was left out: it does not take new sessions" in line for line in sentences(told))
    listed = await asyncio.to_thread(CliRunner().invoke, operator, ["misses", "list", "--csv", *where])
    assert listed.stdout.splitlines()[0].startswith("hour,site,reported_hit_bytes")


def sentences(told: PlayTold) -> Iterable[str]:
    return (line for one in told.told for lines in one.sentences.values() for line in lines)
