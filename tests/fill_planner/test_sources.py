"""Whom an order may ask and when, and how a window is split."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.places import Site
from contracts.plans import RankedSource, SourceKind
from fill_planner.plan import PlannerSettings, SiteWindow, make_plan
from fill_planner.schedule import Task, ends_s, fill_budget, sequence, split
from fill_planner.sources import Asker, Map, Place, distance_km, master, rank_sources
from tests.fill_planner.worlds import HOUR, MB, NOW, WIDE, box, file, site, snapshot, steady, zipf_world

SETTINGS = PlannerSettings(escalation_s=30.0)
ASKER = Asker("b1", "b", opens_at=1000.0, closes_at=5000.0)


def over(*sites: Site) -> Map:
    return Map({one.id: one for one in sites}, "origin", "https://origin", SETTINGS)


def tier(site_id: str, region: str = "CH", latitude: float = 0.0) -> Site:
    return Site(site_id, site_id, "isp", region, latitude=latitude, is_tier=True)


HOME = Site("b", "b", "isp", "CH")


def told(sources: tuple[RankedSource, ...]) -> list[tuple[str, float]]:
    return [(source.name, source.after_s) for source in sources]


def test_alone_it_asks_the_origin_at_once() -> None:
    places = [Place("b1", "b", "https://b1", whole=False)]
    assert told(rank_sources("g", ASKER, places, over(HOME))) == [("origin", 0.0)]


def test_a_neighbour_that_holds_it_is_asked_first_and_the_origin_after_the_escalation() -> None:
    places = [Place("b1", "b", "https://b1", whole=False), Place("b2", "b", "https://b2", whole=True)]
    assert told(rank_sources("g", ASKER, places, over(HOME))) == [("b2", 0.0), ("origin", 30.0)]


def test_a_wait_covers_the_time_the_nearer_source_needs_for_its_own_order() -> None:
    places = [Place("a1", "a", "https://a1", whole=False, whole_at=1100.0), Place("b1", "b", "https://b1", whole=False)]
    assert told(rank_sources("g", ASKER, places, over(HOME, tier("a")))) == [("a1", 0.0), ("origin", 130.0)]


def test_a_tier_that_is_whole_only_after_the_window_is_not_waited_for() -> None:
    places = [Place("a1", "a", "https://a1", whole=False, whole_at=6000.0), Place("b1", "b", "https://b1", whole=False)]
    assert told(rank_sources("g", ASKER, places, over(HOME, tier("a")))) == [("origin", 0.0)]


def test_peer_then_tier_then_origin_each_after_its_wait() -> None:
    places = [
        Place("b1", "b", "https://b1", whole=False),
        Place("b2", "b", "https://b2", whole=True),
        Place("a1", "a", "https://a1", whole=True),
    ]
    found = rank_sources("g", ASKER, places, over(HOME, tier("a")))
    assert told(found) == [("b2", 0.0), ("a1", 30.0), ("origin", 60.0)]
    assert [source.kind for source in found] == [SourceKind.PEER, SourceKind.TIER, SourceKind.ORIGIN]


def test_tiers_of_the_region_come_first_then_the_nearest_and_no_more_than_set() -> None:
    sites = (HOME, tier("abroad", "DE"), tier("far", latitude=50.0), tier("near", latitude=1.0))
    places = [Place(one.id + "1", one.id, f"https://{one.id}", whole=True) for one in sites[1:]]
    assert told(rank_sources("g", ASKER, places, over(*sites)))[:-1] == [("near1", 0.0), ("far1", 0.0)]


def test_a_place_nobody_can_dial_is_no_source_and_no_master() -> None:
    places = [
        Place("b1", "b", "https://b1", whole=False),
        Place("b2", "b", "", whole=True),
        Place("a1", "a", "", whole=True),
    ]
    assert told(rank_sources("g", ASKER, places, over(HOME, tier("a")))) == [("origin", 0.0)]
    assert master("g", places[:2]) == "b1"
    assert master("g", [Place("b2", "b", "", whole=False)]) is None


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True), st.text(max_size=5))
def test_there_is_one_master_whoever_asks(names: list[str], group: str) -> None:
    places = [Place(name, "s", f"https://{name}", whole=False) for name in names]
    chosen = master(group, places)
    assert chosen in names
    assert chosen == master(group, places[::-1])
    for name in names:
        found = rank_sources(group, Asker(name, "s", 0.0, 1.0), places, over(Site("s", "s", "isp", "CH")))
        assert [source.name for source in found[:-1]] == ([] if name == chosen else [chosen])


def test_distances_are_kilometres() -> None:
    paris, london = tier("paris"), tier("london")
    paris = msgspec.structs.replace(paris, latitude=48.857, longitude=2.352)
    london = msgspec.structs.replace(london, latitude=51.507, longitude=-0.128)
    assert distance_km(paris, london) == pytest.approx(344, abs=2)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**9), min_size=1),
    st.integers(1, 10**10),
    st.integers(0, 10**10),
    st.floats(1.0, 86400.0),
)
def test_shares_give_each_what_it_needs_and_never_exceed_the_window(
    ordered: dict[str, int], rate_bps: int, volume_bytes: int, duration_s: float
) -> None:
    window = SiteWindow(NOW - 10.0, NOW + duration_s, rate_bps, volume_bytes)
    budget = fill_budget(window, NOW, SETTINGS)
    scale = budget / max(1, sum(ordered.values()))
    wanted = {name: int(amount * min(1.0, scale)) for name, amount in ordered.items()}
    shares = split(window, NOW, wanted)
    assert sum(share.volume_bytes for share in shares.values()) <= volume_bytes
    assert sum(share.rate_bps for share in shares.values()) <= rate_bps + len(shares)
    for name, share in shares.items():
        assert share.opens_at == NOW
        assert share.volume_bytes >= wanted[name]
        assert share.rate_bps + 1 >= wanted[name] * 8 / share.duration_s


def test_the_most_valuable_comes_first_and_what_waits_for_a_neighbour_last() -> None:
    tasks = [Task("a", "cheap", 10, 1.0, False), Task("a", "waits", 10, 9.0, True), Task("a", "dear", 30, 5.0, False)]
    in_order = sequence(tasks)
    assert [task.group for task in in_order] == ["dear", "cheap", "waits"]
    assert ends_s(in_order, rate_bps=80) == {"dear": 3.0, "cheap": 4.0, "waits": 5.0}


def test_a_window_that_is_over_carries_nothing() -> None:
    assert fill_budget(SiteWindow(NOW - 2 * HOUR, NOW - HOUR, 10**9, 10**12), NOW, SETTINGS) == 0


def test_two_clusters_of_a_site_share_its_demand_and_its_window_and_cross_the_border_once() -> None:
    world = zipf_world(3)
    videos = [one for one in world.files if one.key.endswith(".mp4")]
    traffic = {one.key: steady(10, one.size_bytes) for one in videos}
    total = sum(one.size_bytes for one in videos)
    window = msgspec.structs.replace(WIDE, volume_bytes=total)
    boxes = [box("one", "a", 2 * total, cluster="x"), box("two", "a", 2 * total, cluster="y")]
    plan = make_plan(snapshot([site("a", traffic, window=window)], boxes, videos))
    assert plan.summary.bytes_to_fill <= total
    assert {e.manifest_cluster for e in plan.explanations} == {"x", "y"}
    forecasts = [sum(e.forecast_bytes for e in plan.explanations if e.manifest_cluster == name) for name in ("x", "y")]
    assert forecasts[0] == pytest.approx(forecasts[1])
    far = [order.key for its in plan.appliances for order in its.orders if order.sources[0].kind is SourceKind.ORIGIN]
    assert len(far) == len(set(far))


def test_a_file_of_no_size_breaks_nothing() -> None:
    empty = file("empty", "v", 0)
    plan = make_plan(snapshot([site("a", {empty.key: steady(1, MB)})], [box("a1", "a", MB)], [empty]))
    assert len(plan.explanations) == 1
