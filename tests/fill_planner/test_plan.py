"""The laws of a plan, over generated worlds."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalogue import Licence
from contracts.places import ApplianceState
from contracts.plans import Order, Reason, SourceKind
from fill_planner.plan import Plan, PlannerSettings, PlanningSnapshot, SiteWindow, make_plan
from tests.fill_planner.worlds import (
    HOUR,
    MB,
    NOW,
    WIDE,
    box,
    file,
    filled,
    playlist,
    site,
    snapshot,
    steady,
    zipf_world,
)

SEEDS = st.integers(0, 10_000)
WINDOWS = st.builds(
    SiteWindow,
    opens_at=st.sampled_from([NOW - HOUR, NOW + HOUR]),
    closes_at=st.sampled_from([NOW - 1.0, NOW + 2 * HOUR, NOW + 13 * HOUR]),
    rate_bps=st.sampled_from([20_000, 100_000, 1_000_000_000]),
    volume_bytes=st.sampled_from([0, 50 * MB, 10**12]),
)


def _orders(plan: Plan) -> list[tuple[str, Order]]:
    return [(its.appliance_id, order) for its in plan.appliances for order in its.orders]


def _missing(world: PlanningSnapshot, appliance_id: str, order: Order) -> int:
    held = next(entry.held for entry in world.appliances if entry.appliance.id == appliance_id)
    return order.size_bytes - held.get(order.key, 0)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0.02, 1.5), WINDOWS)
def test_no_limit_is_ever_exceeded(seed: int, disk_share: float, window: SiteWindow) -> None:
    world = zipf_world(seed, disk_share=disk_share, window=window)
    plan = make_plan(world)
    size = {one.key: one.size_bytes for one in world.files}
    by_site: Counter[str] = Counter()
    rates: Counter[str] = Counter()
    volumes: Counter[str] = Counter()
    for entry in world.appliances:
        appliance = entry.appliance
        its = next(one for one in plan.appliances if one.appliance_id == appliance.id)
        assert sum(size[key] for key in its.pins) <= appliance.disk_bytes * (1 - appliance.cache_share)
        assert {order.key for order in its.orders} <= set(its.pins)
        assert its.window_opens_at >= NOW
        ordered = sum(_missing(world, appliance.id, order) for order in its.orders)
        assert ordered <= its.volume_bytes
        assert ordered * 8 <= (its.rate_bps + 1) * max(0.0, its.window_closes_at - its.window_opens_at)
        by_site[appliance.site_id] += ordered
        rates[appliance.site_id] += its.rate_bps
        volumes[appliance.site_id] += its.volume_bytes
    open_s = max(0.0, window.closes_at - max(NOW, window.opens_at))
    for site_id, ordered in by_site.items():
        assert ordered <= min(window.volume_bytes, window.rate_bps / 8 * open_s)
        assert rates[site_id] <= window.rate_bps
        assert volumes[site_id] <= window.volume_bytes


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.05, 1.2))
def test_a_second_night_without_change_orders_nothing(seed: int, disk_share: float) -> None:
    world = zipf_world(seed, disk_share=disk_share)
    first = make_plan(world)
    assert first.summary.orders > 0
    tomorrow = filled(world, first)
    second = make_plan(tomorrow)
    assert _orders(second) == []
    assert {its.appliance_id: set(its.pins) for its in second.appliances} == {
        its.appliance_id: set(its.pins) for its in first.appliances
    }


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.05, 1.0))
def test_every_file_and_cluster_has_exactly_one_explanation(seed: int, disk_share: float) -> None:
    world = zipf_world(seed, titles=20, disk_share=disk_share)
    plan = make_plan(world)
    pairs = Counter((e.key, e.site_id, e.manifest_cluster) for e in plan.explanations)
    assert set(pairs) == {(one.key, s, "main") for one in world.files for s in ("a", "b")}
    assert set(pairs.values()) == {1}
    assert plan.summary.placed_files + plan.summary.unplaced_files == len(plan.explanations)
    for e in plan.explanations:
        assert e.copies == len(e.appliances) == len(set(e.appliances))
        assert (e.copies == 0) == (
            e.reason in {Reason.DISK_FULL, Reason.WINDOW_FULL, Reason.NO_DEMAND, Reason.NOT_LICENSED}
        )
        assert e.sentence.endswith(".")
        assert e.sentence.startswith("Not placed") == (e.copies == 0)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.1, 0.6))
def test_the_origin_is_the_last_source_of_every_order_and_is_named_once(seed: int, disk_share: float) -> None:
    for _, order in _orders(make_plan(zipf_world(seed, disk_share=disk_share))):
        assert order.sources[-1].kind is SourceKind.ORIGIN
        assert [s.kind for s in order.sources].count(SourceKind.ORIGIN) == 1
        assert [s.after_s for s in order.sources] == sorted(s.after_s for s in order.sources)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.3, 0.6))
def test_a_file_planned_twice_at_a_site_has_exactly_one_fill_master(seed: int, disk_share: float) -> None:
    plan = make_plan(zipf_world(seed, disk_share=disk_share))
    at_a = [(box_id, order) for box_id, order in _orders(plan) if box_id in ("a1", "a2")]
    twice = [key for key, count in Counter(order.key for _, order in at_a).items() if count == 2]
    assert twice
    for key in twice:
        (one, other) = [(box_id, order) for box_id, order in at_a if order.key == key]
        first = [box_id for box_id, order in (one, other) if order.sources[0].kind is not SourceKind.PEER]
        assert len(first) == 1
        follower = next(order for box_id, order in (one, other) if box_id != first[0])
        assert (follower.sources[0].name, follower.sources[0].after_s) == (first[0], 0.0)
        assert follower.sources[-1].after_s >= 30.0


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_a_site_asks_the_tier_for_what_the_tier_holds_or_will_hold(seed: int) -> None:
    world = zipf_world(seed)
    plan = make_plan(world)
    planned_at_a = {key for its in plan.appliances if its.appliance_id != "b1" for key in its.pins}
    masters = {order.key: box_id for box_id, order in _orders(plan) if order.sources[0].kind is SourceKind.ORIGIN}
    for box_id, order in _orders(plan):
        if box_id != "b1":
            assert all(source.kind is not SourceKind.TIER for source in order.sources), "b is no tier"
        elif order.key in planned_at_a:
            assert [s.kind for s in order.sources] == [SourceKind.TIER, SourceKind.ORIGIN]
            assert order.sources[0].name == masters[order.key]
            assert order.sources[0].after_s == 0.0
            assert order.sources[1].after_s >= 30.0
        else:
            assert [(s.kind, s.after_s) for s in order.sources] == [(SourceKind.ORIGIN, 0.0)]


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0.05, 0.8), st.floats(0.01, 0.5))
def test_a_bigger_disk_never_holds_less_of_the_demand(seed: int, disk_share: float, more: float) -> None:
    world = zipf_world(seed, disk_share=disk_share)
    alone = msgspec.structs.replace(world, sites=world.sites[1:], appliances=world.appliances[2:])
    small = alone.appliances[0].appliance
    bigger = msgspec.structs.replace(small, disk_bytes=int(small.disk_bytes * (1 + more)))
    grown = msgspec.structs.replace(alone, appliances=(msgspec.structs.replace(alone.appliances[0], appliance=bigger),))
    assert make_plan(grown).summary.expected_inside_share >= make_plan(alone).summary.expected_inside_share - 1e-9


def test_a_plan_depends_on_nothing_but_its_snapshot() -> None:
    world = zipf_world(7)
    shuffled = msgspec.structs.replace(
        world, sites=world.sites[::-1], appliances=world.appliances[::-1], files=world.files[::-1]
    )
    assert make_plan(world) == make_plan(world)
    assert {its.appliance_id: set(its.pins) for its in make_plan(shuffled).appliances} == {
        its.appliance_id: set(its.pins) for its in make_plan(world).appliances
    }


def test_files_of_one_group_are_placed_together() -> None:
    plan = make_plan(zipf_world(3))
    for its in plan.appliances:
        videos = {key.removesuffix(".mp4") for key in its.pins if key.endswith(".mp4")}
        playlists = {key.removesuffix(".m3u8") for key in its.pins if key.endswith(".m3u8")}
        assert videos == playlists


def test_a_title_outside_its_licence_is_not_placed_and_says_so() -> None:
    here, elsewhere = file("here", "v", MB, Licence(("CH",))), file("elsewhere", "v", MB, Licence(("DE",)))
    ended, tomorrow = (
        file("ended", "v", MB, Licence(ends_at=NOW + HOUR)),
        file("soon", "v", MB, Licence(starts_at=NOW + 20 * HOUR)),
    )
    files = [here, elsewhere, ended, tomorrow]
    traffic = {one.key: steady(10, MB) for one in files}
    plan = make_plan(snapshot([site("a", traffic)], [box("a1", "a", 100 * MB)], files))
    assert set(plan.appliances[0].pins) == {here.key, tomorrow.key}
    reasons = {e.key: e.reason for e in plan.explanations}
    assert reasons[elsewhere.key] is reasons[ended.key] is Reason.NOT_LICENSED


def test_what_an_operator_requires_is_placed_first_whatever_it_is_worth() -> None:
    popular, wanted = file("popular", "v", 5 * MB), file("wanted", "v", 5 * MB)
    traffic = {popular.key: steady(100, 5 * MB), wanted.key: steady(0, 5 * MB)}
    places = [site("a", traffic, required=(wanted.key,))]
    plan = make_plan(snapshot(places, [box("a1", "a", 7 * MB)], [popular, wanted]))
    assert plan.appliances[0].pins == (wanted.key,)
    assert {e.key: e.reason for e in plan.explanations} == {wanted.key: Reason.PINNED, popular.key: Reason.DISK_FULL}


def test_what_does_not_fit_into_the_window_is_left_out_and_says_so() -> None:
    files = [file(f"t{n}", "v", 10 * MB) for n in range(4)]
    traffic = {one.key: steady(100 - n, 10 * MB) for n, one in enumerate(files)}
    window = msgspec.structs.replace(WIDE, volume_bytes=25 * MB)
    plan = make_plan(snapshot([site("a", traffic, window=window)], [box("a1", "a", 1000 * MB)], files))
    assert [order.key for order in plan.appliances[0].orders] == [files[0].key, files[1].key]
    assert [order.priority for order in plan.appliances[0].orders] == [0, 1]
    assert {e.reason for e in plan.explanations if not e.copies} == {Reason.WINDOW_FULL}


def test_half_a_file_held_is_completed_where_it_is_and_only_the_rest_counts() -> None:
    video = file("t", "v", 10 * MB)
    world = snapshot(
        [site("a", {video.key: steady(5, 10 * MB)}, window=msgspec.structs.replace(WIDE, volume_bytes=5 * MB))],
        [box("a1", "a", 100 * MB), box("a2", "a", 100 * MB, held={video.key: 6 * MB})],
        [video],
    )
    plan = make_plan(world, PlannerSettings(second_copy_share=0.0))
    assert {its.appliance_id: its.pins for its in plan.appliances} == {"a1": (), "a2": (video.key,)}
    assert plan.summary.bytes_to_fill == 4 * MB


def test_churn_keeps_what_is_held_against_a_slightly_better_newcomer() -> None:
    old, new = file("old", "v", 10 * MB), file("new", "v", 10 * MB)
    world = snapshot(
        [site("a", {old.key: steady(10.0, 10 * MB), new.key: steady(10.5, 10 * MB)})],
        [box("a1", "a", 12 * MB, held={old.key: 10 * MB})],
        [old, new],
    )
    assert make_plan(world, PlannerSettings(churn_cost=1.0)).appliances[0].pins == (old.key,)
    assert make_plan(world, PlannerSettings(churn_cost=0.1)).appliances[0].pins == (new.key,)


def test_one_failure_domain_gets_no_second_copies() -> None:
    world = zipf_world(1)
    together = tuple(
        msgspec.structs.replace(e, appliance=msgspec.structs.replace(e.appliance, failure_domain="rack"))
        for e in world.appliances
    )
    plan = make_plan(msgspec.structs.replace(world, appliances=together))
    assert {e.copies for e in plan.explanations} == {0, 1}
    assert 2 in {e.copies for e in make_plan(world).explanations}


def test_more_space_for_second_copies_makes_more_of_them() -> None:
    def second_copies(share: float) -> int:
        plan = make_plan(zipf_world(5), PlannerSettings(second_copy_share=share))
        return sum(1 for e in plan.explanations if e.copies == 2)

    assert second_copies(0.0) < second_copies(0.2) < second_copies(0.4)


def test_a_file_whose_peak_is_too_much_for_one_box_earns_a_second_copy() -> None:
    hot, cold = file("hot", "v", 10 * MB), file("cold", "v", 10 * MB)
    # 10 M views × 10 MB in the peak hour are more than a tenth of 10 Gb/s; a single cold view is not.
    traffic = {hot.key: steady(1_000_000, 10 * MB), cold.key: steady(1, 10 * MB)}
    boxes = [box("a1", "a", 24 * MB), box("a2", "a", 12 * MB)]
    plan = make_plan(snapshot([site("a", traffic)], boxes, [hot, cold]), PlannerSettings(second_copy_share=0.0))
    assert {e.key: e.copies for e in plan.explanations} == {hot.key: 2, cold.key: 1}


def test_appliances_that_are_not_filled_keep_their_pins_and_retired_ones_have_no_plan() -> None:
    video = file("t", "v", MB)
    traffic = {video.key: steady(10, MB)}
    boxes = [
        box(
            "drain",
            "a",
            100 * MB,
            state=ApplianceState.DRAINING,
            pins=(video.key, "vod|/media/gone/hd/x.mp4"),
            held={video.key: MB},
        ),
        box("gone", "a", 100 * MB, state=ApplianceState.RETIRED, pins=(video.key,)),
        box("live", "a", 100 * MB),
    ]
    plan = make_plan(snapshot([site("a", traffic)], boxes, [video]))
    assert {its.appliance_id: its.pins for its in plan.appliances} == {"drain": (video.key,), "live": (video.key,)}
    (live_order,) = next(its.orders for its in plan.appliances if its.appliance_id == "live")
    assert (live_order.sources[0].kind, live_order.sources[0].name) == (SourceKind.PEER, "drain")


def test_a_suspect_neighbour_is_nobodys_source_but_keeps_its_place() -> None:
    video = file("t", "v", MB)
    boxes = [box("a1", "a", 100 * MB, suspect=True), box("a2", "a", 100 * MB)]
    plan = make_plan(snapshot([site("a", {video.key: steady(10, MB)})], boxes, [video]))
    orders = {box_id: order for box_id, order in _orders(plan)}
    assert [s.kind for s in orders["a2"].sources] == [SourceKind.ORIGIN]
    assert [s.name for s in orders["a1"].sources] == ["a2", "origin"]


def test_two_tiers_that_both_lack_a_file_do_not_wait_for_each_other() -> None:
    videos = [file(f"t{n}", "v", MB) for n in range(20)]
    traffic = {one.key: steady(10, MB) for one in videos}
    places = [site(name, traffic, tier=True) for name in ("a", "b", "c")]
    plan = make_plan(snapshot(places, [box(f"{name}1", name, 100 * MB) for name in ("a", "b", "c")], videos))
    for video in videos:
        kinds = [order.sources[0].kind for _, order in _orders(plan) if order.key == video.key]
        assert sorted(kind.value for kind in kinds) == ["origin", "tier", "tier"]


def test_an_order_keeps_its_id_from_plan_to_plan() -> None:
    world = zipf_world(2)
    ids = {order.id for _, order in _orders(make_plan(world))}
    assert ids == {order.id for _, order in _orders(make_plan(msgspec.structs.replace(world, number=9)))}
    assert len(ids) == make_plan(world).summary.orders


def test_an_appliance_of_an_unknown_site_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="lost1"):
        make_plan(snapshot([site("a", {})], [box("lost1", "nowhere", MB)], []))


def test_an_empty_world_has_an_empty_plan() -> None:
    plan = make_plan(snapshot([], [], []))
    assert (plan.appliances, plan.explanations, plan.summary.expected_inside_share) == ((), (), 0.0)


def test_a_snapshot_survives_json() -> None:
    world = zipf_world(4, titles=5)
    assert msgspec.json.decode(msgspec.json.encode(world), type=PlanningSnapshot) == world


def test_playlists_come_before_their_video() -> None:
    video = file("t", "v", 10 * MB)
    world = snapshot([site("a", {video.key: steady(5, 10 * MB)})], [box("a1", "a", 100 * MB)], [video, playlist(video)])
    assert [order.key[-4:] for order in make_plan(world).appliances[0].orders] == ["m3u8", ".mp4"]
