"""One evening on which every kind of process dies once, while people play, log in, browse and press play all the time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import httpx

from contracts.ingest import TitleState
from demo.scenario import NETWORKS
from player.membership import Refused
from player.playing import PlayReport
from player.viewer import watch
from tests.system import probes
from tests.system.kinds import HELD_THERE, LEFT_OUT, MISSING, OWN_ADDRESS, PUBLISHED, Row, Victim
from tests.system.probes import NAMED, Answered, Probe
from tests.system.processes import busiest, children_of
from tests.system.town import BRACK, NEAP, SPRING, Home, Town

RATE = 2.0
UNTIL_S = 36.0
STAGGER_S = UNTIL_S / RATE / 2
SETTLED_WITHIN_S = 40.0
PRESS_AGAIN_S = 0.3
COLD_LEAD_S = 1.5


@dataclass
class Play:
    """One play of the evening, from the press to its end. `hosts` are those that ranges came from, in order."""

    network: str
    title_id: str
    pressed_s: float
    hosts: list[str] = field(default_factory=list)
    report: PlayReport = field(default_factory=PlayReport)
    ended_s: float = float("inf")

    def ran_through(self, at_s: float) -> bool:
        """It showed a picture before that instant and went on for at least a second behind it."""
        return self.pressed_s + self.report.startup_s < at_s and at_s + 1.0 < self.ended_s


@dataclass
class Death:
    """One kill and what was seen after it, by probe, until everything worked again."""

    kind: str
    victim: str
    at_s: float
    settled_s: float
    seen: dict[str, list[Answered]]


@dataclass
class Evening:
    deaths: dict[str, Death] = field(default_factory=dict)
    plays: list[Play] = field(default_factory=list)

    def running_at(self, at_s: float) -> list[Play]:
        return [play for play in self.plays if play.ran_through(at_s)]

    def host_in_use(self, network: str) -> str:
        """Where the plays of a network got their last ranges from, most of them."""
        recent = [play.hosts[-1] for play in self.plays if play.network == network and play.ended_s == float("inf")]
        return Counter(recent).most_common(1)[0][0]


async def live_through(town: Town, rows: Sequence[Row]) -> Evening:
    """Kills the victims of all rows, one after another; each kill waits until everything works."""
    evening = Evening()
    async with AsyncExitStack() as stack:
        people = [await town.move_in(network) for network in NETWORKS for _ in range(3)]
        cast = _Cast(town, people, evening, stack)
        everyday = await cast.everyday()
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(probe.run()) for probe in everyday]
            ending = asyncio.Event()
            regulars = [cast.of(network.site_id)[0] for network in NETWORKS] * 2
            watching = [
                group.create_task(cast.keep_watching(home, number, ending)) for number, home in enumerate(regulars)
            ]
            await cast.until_everybody_watches()
            for row in rows:
                if row.cold_play is not None:
                    watching.append(group.create_task(cast.watch_cold(row)))
                    await asyncio.sleep(COLD_LEAD_S)
                evening.deaths[row.kind] = await cast.death(row, everyday, group)
            ending.set()
            await asyncio.wait(watching)
            for task in asking:
                task.cancel()
        cast.note_what_was_made()
    return evening


@dataclass
class _Cast:
    """Who does what on that evening."""

    town: Town
    people: list[Home]
    evening: Evening
    stack: AsyncExitStack
    made: tuple[str, float, asyncio.Task[float]] | None = None
    """The ingest under way at a kill: kind, when, and the instant of its publication."""

    def of(self, network: str) -> list[Home]:
        return [home for home in self.people if home.network.site_id == network]

    async def everyday(self) -> list[Probe]:
        """What is asked all evening."""
        town = self.town
        clerk = await town.move_in(NETWORKS[0])
        found = [
            Probe("log in", probes.logs_in(clerk), 0.4),
            Probe("home page", probes.opens_home(self.of("a")[2]), 0.4),
            Probe("catalogue", probes.browses(self.of("b")[2]), 0.4),
        ]
        for network in NETWORKS:
            home = self.of(network.site_id)[2]
            found.append(Probe(f"new play in {network.site_id}", probes.presses_play(town, home, NEAP.id), 0.5))
        token = await probes.media_token(self.of("b")[2], SPRING.id)
        for name in town.appliances:
            client = await self.stack.enter_async_context(probes.fresh_client())
            pieces = probes.held_pieces(town, SPRING.id)
            base = f"http://{town.box.media_hosts(name)[0]}"
            found.append(Probe(f"held bytes at {name}", probes.fetches(town, client, base, token, pieces), 0.2))
        return found

    async def death(self, row: Row, everyday: list[Probe], group: asyncio.TaskGroup) -> Death:
        """Waits for calm, kills, and looks on until everything works again."""
        victim = self._resolved(row.victim)
        around = await self._around(victim)
        tasks = [group.create_task(probe.run()) for probe in around]
        calm = [probe for probe in (*everyday, *around) if probe.name != LEFT_OUT]
        await _until(
            lambda: all(probe.worked_since(0.0) for probe in calm), f"calm before {row.kind}", lambda: _last(calm)
        )
        if row.ingest_under_way:
            await self._start_an_ingest()
        missing = await self._missing(row)
        if victim.plug:
            assert around[-1].seen[-1].words == NAMED, "steering named the appliance before it died"
        at_s = time.monotonic()
        replaced = kill(self.town, victim)
        if row.ingest_under_way:
            self.made = (row.kind, at_s, group.create_task(self._until_published()))
        tasks += [group.create_task(probe.run()) for probe in missing]
        await asyncio.sleep(row.dark_s)
        if victim.plug:
            self.town.box.revive(victim.process)
        await _until(replaced, f"{row.kind}: there again")
        watched, since_s = [*calm, *missing], time.monotonic()
        await _until(
            lambda: all(probe.worked_since(since_s) for probe in watched), f"{row.kind}: works", lambda: _last(watched)
        )
        await self._until_live()
        for task in tasks:
            task.cancel()
        seen = {probe.name: probe.since(at_s) for probe in (*everyday, *around, *missing)}
        if victim.plug:
            seen[LEFT_OUT] = [one for one in seen[LEFT_OUT] if one.ended_s < at_s + row.dark_s]
        if victim.process in self.town.appliances:
            seen[HELD_THERE] = seen.pop(f"held bytes at {victim.process}")
        return Death(row.kind, victim.process, at_s, time.monotonic() - at_s, seen)

    def _resolved(self, victim: Victim) -> Victim:
        """The appliance that a network's plays are using now, where the victim is named like that."""
        if not victim.in_use_in:
            return victim
        host = self.evening.host_in_use(victim.in_use_in)
        names = {self.town.box.media_hosts(name)[0]: name for name in self.town.appliances}
        return replace(victim, process=names[host])

    async def _around(self, victim: Victim) -> list[Probe]:
        """What is asked around one death: the process itself, and for a whole appliance, who still names it."""
        town = self.town
        client = await self.stack.enter_async_context(probes.fresh_client())
        found = []
        if not victim.part:
            found.append(Probe(OWN_ADDRESS, probes.answers(client, lambda: own_address(town, victim.process)), 0.15))
        if victim.plug:
            request = probes.rank_request(town, self.of("a")[2], SPRING.id)
            ask = probes.ranks_without(client, town.box.url("steering"), request, victim.process)
            found.append(Probe(LEFT_OUT, ask, 0.2))
        return found

    async def _missing(self, row: Row) -> list[Probe]:
        """Bytes that an appliance does not hold, block after block, asked for from the kill on."""
        if row.misses_at is None:
            return []
        name, title_id = row.misses_at
        client = await self.stack.enter_async_context(probes.fresh_client())
        token = await probes.media_token(self.of("b")[2], title_id)
        base = f"http://{self.town.box.media_hosts(name)[0]}"
        pieces = probes.block_pieces(self.town, title_id)
        return [Probe(MISSING, probes.fetches(self.town, client, base, token, pieces), 0.5)]

    async def keep_watching(self, home: Home, number: int, ending: asyncio.Event) -> None:
        """One play after another until the evening ends; the last one is played to its end."""
        await asyncio.sleep(STAGGER_S * (number // 2))
        title = (SPRING, NEAP)[(number + number // 2) % 2]
        while not ending.is_set():
            await self._watch(home, title.id, f"device-{number}")

    async def watch_cold(self, row: Row) -> None:
        """A play of what no appliance holds yet."""
        assert row.cold_play is not None, "the row has one"
        network, title_id = row.cold_play
        await self._watch(self.of(network)[1], title_id, f"cold-{row.kind}")

    async def _watch(self, home: Home, title_id: str, device: str) -> None:
        """One play. Where the press itself is refused, people press again a moment later."""
        play = Play(home.network.site_id, title_id, time.monotonic())
        try:
            self.evening.plays.append(play)
            play.report = await watch(
                home.member,
                title_id,
                home.profile_id,
                device,
                source_address=home.address,
                rate=RATE,
                until_s=UNTIL_S,
                resume=False,
                on_host=play.hosts.append,
            )
            play.ended_s = time.monotonic()
        except (Refused, httpx.TransportError):
            self.evening.plays.remove(play)
            await asyncio.sleep(PRESS_AGAIN_S)

    async def until_everybody_watches(self) -> None:
        """A play per network shows a picture."""
        networks = {network.site_id for network in NETWORKS}
        await _until(
            lambda: {play.network for play in self.evening.plays if len(play.hosts) > 4} == networks,
            "everybody watches",
        )

    async def _start_an_ingest(self) -> None:
        """Returns when a worker is encoding."""
        async with self.town.ingest() as ingest:
            await ingest.upload(BRACK, self.town.sources[BRACK.id])
            async with asyncio.timeout(SETTLED_WITHIN_S):
                while (await ingest.known())[BRACK.id].stage != "encode":  # noqa: ASYNC110  asked over HTTP
                    await asyncio.sleep(0.05)

    async def _until_published(self) -> float:
        """The instant at which the title that was being made is published."""
        async with self.town.ingest() as ingest:
            while True:
                state = (await ingest.known())[BRACK.id]
                assert state.state is not TitleState.REJECTED, state.reason
                if state.state is TitleState.PUBLISHED:
                    return time.monotonic()
                await asyncio.sleep(0.2)

    def note_what_was_made(self) -> None:
        """The outage of the ingest lasts from the kill to the publication."""
        if self.made is not None:
            kind, at_s, task = self.made
            story = [Answered(at_s, at_s, "not yet"), Answered(at_s, task.result(), "")]
            self.evening.deaths[kind].seen[PUBLISHED] = story

    async def _until_live(self) -> None:
        """The control plane sees every appliance."""
        async with self.town.operator() as operator, asyncio.timeout(SETTLED_WITHIN_S):
            while True:
                entries = (await operator.overview()).appliances
                if all(entry.connected and not entry.health.suspect for entry in entries):
                    return
                await asyncio.sleep(0.1)


def kill(town: Town, victim: Victim) -> Callable[[], bool]:
    """kill −9. Gives the question whether the victim has a successor."""
    running = town.box.processes[victim.process]
    if victim.part:
        supervisor = running.pid
        parts = {pid for pid, line in children_of(supervisor).items() if victim.part in line}
        os.kill(busiest(parts), signal.SIGKILL)
        return lambda: bool({pid for pid, line in children_of(supervisor).items() if victim.part in line} - parts)
    starts = running.starts
    if victim.plug:
        town.box.pull_the_plug(victim.process)
    else:
        os.kill(running.pid, signal.SIGKILL)
    return lambda: running.starts > starts


def own_address(town: Town, process: str) -> str:
    """The listener of a process that answers `/healthz`."""
    listening = town.box.processes[process].listening
    return listening.get("http") or listening["status"]


async def _until(condition: Callable[[], bool], what: str, facts: Callable[[], object] = lambda: "") -> None:
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not condition():  # noqa: ASYNC110  what is waited for are other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {SETTLED_WITHIN_S:g} s: {what} {facts()}") from None


def _last(watched: Sequence[Probe]) -> dict[str, str]:
    """What each probe heard last, for the message of a test that waits in vain."""
    return {probe.name: probe.seen[-1].words if probe.seen else "nothing yet" for probe in watched}
