"""The demo's arithmetic: what counts as inside, and checks that can fail."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from contracts.overview import ApplianceOverview, FillProgress, Overview, ServedBySource, SiteOverview
from contracts.places import Appliance, ApplianceState, Site
from contracts.plans import PlacementExplanation, Reason
from contracts.reports import Source
from contracts.world import Health
from demo.comparison import sequence
from demo.measures import Evidence, SiteFill, by_source, checks, fills, inside_share, plays_on, serving
from player.fetching import Attempt, Ended
from player.playing import PlayReport

ORIGIN = "127.0.0.1:9"


def attempt(host: str, got: int, at_s: float = 0.0, ended: Ended = Ended.COMPLETE) -> Attempt:
    return Attempt(at_s, host, "/media/t/sd/v.mp4", 0, got - 1, 206, got, 0.1, ended)


def record(client_requests: int, content_misses: int, *served: ServedBySource) -> Overview:
    site = SiteOverview(Site("a", "A", "isp", "DE"), ("a1",), served, None, FillProgress())
    box = ApplianceOverview(
        appliance=Appliance("a1", "a", "a-main", ApplianceState.LIVE),
        health=Health("a1", 1.0, False, True, 0.0),
        connected=True,
        report_age_s=0.0,
        plan_number=1,
        reported_plan_number=1,
        window_opens_at=0.0,
        window_closes_at=0.0,
        fill=FillProgress(),
        served=served,
        client_requests=client_requests,
        client_bytes=0,
        content_misses=content_misses,
        evictions=0,
        egress_bps=0.0,
        connections=0,
        held_files=0,
        held_bytes=0,
        disks=(),
    )
    return Overview(0.0, 1, (site,), (box,), served, None, 0, 0, 0)


def explanation(reason: Reason, appliances: tuple[str, ...] = ()) -> PlacementExplanation:
    return PlacementExplanation(
        "vod|/f", "a", "a-main", 100, 1.0, "last", 1.0, 1, 2, len(appliances), appliances, (), reason, "because"
    )


def evidence() -> Evidence:
    on_it = PlayReport(
        "t", checked_bytes=10, received_bytes=10, attempts=[attempt("h:1", 10, 1.0), attempt("h:2", 10, 9.0)]
    )
    return Evidence(
        explanations=(explanation(Reason.POPULAR, ("a1",)), explanation(Reason.DISK_FULL)),
        catalogue_bytes=1000,
        quotas={"a1": 380},
        site_fills=(SiteFill("a", 104, 50, 100, 0, 50, 0), SiteFill("b", 60, 0, 60, 40, 0, 40)),
        content_misses=1,
        evictions=1,
        planned_inside=0.9,
        unplanned_inside=0.5,
        digest_mismatches=(),
        digests_compared=3,
        plays=(on_it,),
        killed_hosts=("h:1",),
        killed_at_s=5.0,
        resumed_at_s=24.0,
        left_at_s=24.4,
    )


def test_what_appliances_fetch_from_far_and_what_the_origin_serves_itself_is_outside() -> None:
    before = record(0, 0, ServedBySource(Source.ORIGIN, 1, 100))
    earlier_and_tonight = (ServedBySource(Source.HIT, 9, 900), ServedBySource(Source.ORIGIN, 3, 300))
    after = record(12, 3, *earlier_and_tonight, ServedBySource(Source.PEER, 1, 50))
    found = serving("a", before, after, [attempt("h:1", 800), attempt(ORIGIN, 200)], ORIGIN)
    assert found.delivered_bytes == 1000
    assert found.outside_bytes == 200 + 200
    assert found.inside_share == pytest.approx(0.6)
    assert inside_share([found, found]) == pytest.approx(0.6)
    assert by_source([found])[0].requests == 9
    assert {row.source: row.bytes for row in by_source([found])} == {
        "appliance hit": 550,
        "origin": 200,
        "peer": 50,
        "origin, directly": 200,
    }


def test_what_should_come_from_near_is_what_is_planned_twice_or_held_by_a_tier() -> None:
    def placed(key: str, site_id: str, size: int, *boxes: str) -> PlacementExplanation:
        return msgspec.structs.replace(
            explanation(Reason.POPULAR, boxes), key=key, site_id=site_id, size_bytes=size, copies=len(boxes)
        )

    plan = (
        placed("x", "a", 10, "a1", "a2"),
        placed("y", "a", 7, "a1"),
        placed("x", "b", 10, "b1"),
        placed("z", "b", 5, "b1"),
    )
    fetched = (ServedBySource(Source.TIER, fill_bytes=10), ServedBySource(Source.ORIGIN, fill_bytes=5))
    sites = (
        SiteOverview(Site("a", "A", "isp", "DE", is_tier=True), (), (), None, FillProgress()),
        SiteOverview(Site("b", "B", "isp", "NO"), (), fetched, None, FillProgress()),
    )
    here, there = fills(msgspec.structs.replace(record(0, 0), sites=sites), plan)
    assert (here.unique_bytes, here.second_bytes, here.shared_bytes) == (17, 10, 0)
    assert there == SiteFill("b", 15, 0, 15, 10, 0, 10)


def test_every_check_holds_on_good_evidence() -> None:
    assert [check.name for check in checks(evidence()) if not check.holds] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quotas": {"a1": 401}}, "40 %"),
        ({"explanations": (explanation(Reason.POPULAR, ("a1",)),)}, "not placed"),
        ({"content_misses": 0}, "content miss"),
        ({"evictions": 0}, "eviction"),
        ({"site_fills": (SiteFill("a", 106, 0, 100),)}, "once from outside"),
        ({"site_fills": (SiteFill("a", 0, 0, 100),)}, "once from outside"),
        ({"site_fills": (SiteFill("a", 100, 9, 100, 0, 50, 0),)}, "beside them"),
        ({"site_fills": (SiteFill("a", 100, 0, 100),)}, "beside them"),
        ({"site_fills": (SiteFill("b", 60, 0, 60, 9, 0, 40),)}, "not from the origin"),
        ({"site_fills": (SiteFill("b", 60, 0, 60),)}, "not from the origin"),
        ({"unplanned_inside": 0.9}, "more is served inside"),
        ({"digest_mismatches": ("/f",)}, "digests equal"),
        ({"digests_compared": 0}, "digests equal"),
        ({"plays": (PlayReport("t", failure="nothing answered"),)}, "every play"),
        ({"plays": (PlayReport("t", checked_bytes=9, received_bytes=10),)}, "every byte"),
        ({"killed_hosts": ("h:3",)}, "killed appliance"),
        ({"resumed_at_s": 0.0}, "resumed"),
    ],
)
def test_each_check_fails_on_what_it_is_there_for(change: dict[str, object], words: str) -> None:
    failing = [check.name for check in checks(replace(evidence(), **change)) if not check.holds]  # type: ignore[arg-type]
    assert any(words in name for name in failing)


def test_a_play_that_had_ended_before_was_not_on_the_killed_appliance() -> None:
    ended = PlayReport("t", attempts=[attempt("h:1", 10, 1.0)])
    assert plays_on(["h:1"], 5.0, [ended]) == []


def test_the_replayed_sequence_has_every_answered_range_once_and_in_order() -> None:
    tried = [attempt("h:1", 10, 2.0), attempt("h:1", 5, 1.0), attempt("h:2", 7, 3.0, Ended.UNREACHABLE)]
    assert [(asked.at_s, asked.last) for asked in sequence(tried)] == [(1.0, 4), (2.0, 9)]
