"""Stage three: people watch. One resumes on a second device, one appliance loses its power, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.members import SignUp
from demo.footage import Report
from demo.scenario import Network, Visit
from player.membership import Member, Services
from player.playing import PlayReport
from player.viewer import watch

RATE = 8.0
"""Media seconds per second: a minute's title plays in under eight seconds."""
STREAMS_PER_ACCOUNT = 4
PASSWORD = "a long tide comes slowly"


@dataclass
class Household:
    """A member with a profile, in one network."""

    member: Member
    profile_id: str
    address: str
    region: str


@dataclass
class EveningFacts:
    """What happened. Instants are `time.monotonic()`."""

    plays: list[tuple[Visit, PlayReport]] = field(default_factory=list)
    killed_at_s: float = 0.0
    killed: str = ""

    def of(self, site_id: str) -> list[PlayReport]:
        return [report for visit, report in self.plays if visit.network.site_id == site_id]


@dataclass(frozen=True, slots=True)
class PowerCut:
    """`kill` gets the hosts that plays are using, busiest first, and names what it killed; `revive` gets that name."""

    after_s: float
    lasts_s: float
    kill: Callable[[Sequence[str]], str]
    revive: Callable[[str], None]


async def move_in(services: Services, network: Network, count: int, tag: str) -> list[Household]:
    """Signs up `count` members of a network with a premium plan."""
    found = []
    for number in range(count):
        address = network.address(number)
        member = Member(services, address)
        await member.sign_up(SignUp(f"{tag}-{number}@{network.site_id}.example", PASSWORD, network.region, "premium"))
        account = await member.account()
        found.append(Household(member, account.profiles[0].id, address, network.region))
    return found


async def evening(
    visits: Sequence[Visit],
    households: Mapping[str, Sequence[Household]],
    cut: PowerCut,
    report: Report,
) -> EveningFacts:
    """Plays all visits through one power cut."""
    facts = EveningFacts()
    began = time.monotonic()
    in_use: dict[int, Callable[[], Sequence[str]]] = {}

    async def visit_once(visit: Visit) -> None:
        await asyncio.sleep(max(0.0, began + visit.at_s - time.monotonic()))
        homes = households[visit.network.site_id]
        home = homes[visit.number % len(homes)]
        seen: list[str] = []
        in_use[visit.number] = lambda: seen[-4:]
        try:
            played = await watch(
                home.member,
                visit.title_id,
                home.profile_id,
                f"device-{visit.number}",
                source_address=home.address,
                rate=RATE,
                resume=False,
                on_host=seen.append,
            )
        finally:
            del in_use[visit.number]
        facts.plays.append((visit, played))
        report(f"{len(facts.plays)} of {len(visits)} plays", len(facts.plays) / len(visits))

    async def pull_the_plug() -> None:
        await asyncio.sleep(cut.after_s)
        hosts = [host for recent in in_use.values() for host in set(recent())]
        facts.killed = cut.kill(sorted(set(hosts), key=hosts.count, reverse=True))
        facts.killed_at_s = time.monotonic()
        await asyncio.sleep(cut.lasts_s)
        cut.revive(facts.killed)

    async with asyncio.TaskGroup() as group:
        for visit in visits:
            group.create_task(visit_once(visit))
        group.create_task(pull_the_plug())
    return facts


async def two_devices(home: Household, title_id: str, leave_at_s: float) -> tuple[PlayReport, PlayReport]:
    """The first device leaves at `leave_at_s`; the second goes on where the profile was. Returns both reports."""
    first = await watch(
        home.member, title_id, home.profile_id, "sofa", source_address=home.address, rate=RATE, until_s=leave_at_s
    )
    second = await watch(home.member, title_id, home.profile_id, "kitchen", source_address=home.address, rate=RATE)
    return first, second
