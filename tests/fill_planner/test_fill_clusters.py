"""Fill clusters and their masters, releases before their date, what operators forbid, and sites that are planned alone."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalogue import Licence
from contracts.places import ApplianceState, Site
from contracts.plans import PlanCause, Reason, SourceKind
from fill_planner.plan import PlannerSettings, make_plan
from fill_planner.schedule import PINNED, Task, sequence
from fill_planner.sources import Asker, Map, Place, masters, rank_sources
from tests.fill_planner.worlds import HOUR, MB, NOW, WIDE, box, file, site, snapshot, steady, zipf_world

SETTINGS = PlannerSettings(escalation_s=30.0)


def over(*sites: Site) -> Map:
    return Map({one.id: one for one in sites}, "origin", "https://origin", SETTINGS)


def place(box_id: str, site_id: str, *, whole: bool = False, whole_at: float = 0.0) -> Place:
    return Place(box_id, site_id, f"https://{box_id}", whole, whole_at)


@given(st.integers(1, 5), st.integers(1, 6), st.text(max_size=4))
def test_as_many_masters_as_the_fill_cluster_has_ask_the_origin_and_the_others_ask_all_of_them(
    wanted: int, boxes: int, group: str
) -> None:
    here = Site("s", "s", "isp", "CH", fill_masters=wanted)
    places = [place(f"b{n}", "s", whole_at=100.0 + n) for n in range(boxes)]
    found = {p.box_id: rank_sources(group, Asker(p.box_id, "s", 0.0, 1e6), places, over(here)) for p in places}
    leaders = [box_id for box_id, its in found.items() if len(its) == 1]
    assert len(leaders) == min(wanted, boxes)
    for box_id in found.keys() - set(leaders):
        assert {source.name for source in found[box_id][:-1]} == set(leaders)
        first_whole = min(p.whole_at for p in places if p.box_id in leaders)
        assert found[box_id][-1].after_s == pytest.approx(first_whole + 30.0)


def test_sites_of_one_fill_cluster_fetch_from_far_once() -> None:
    sites = [Site(name, name, "isp", "CH", fill_cluster="alps") for name in ("a", "b", "c")]
    places = [place(f"{one.id}{n}", one.id) for one in sites for n in (1, 2)]
    at_once = []
    for p in places:
        its = rank_sources("g", Asker(p.box_id, p.site_id, 0.0, 1e6), places, over(*sites))
        assert its[-1].kind is SourceKind.ORIGIN
        if its[0].kind is SourceKind.ORIGIN:
            at_once.append(p.box_id)
        else:
            assert its[-1].after_s >= 30.0
    assert len(at_once) == 1


def test_what_a_site_of_the_fill_cluster_holds_is_asked_before_a_tier_that_is_nearer() -> None:
    sites = (
        Site("b", "b", "isp", "CH", fill_cluster="alps"),
        Site("far", "far", "isp", "DE", latitude=60.0, fill_cluster="alps"),
        Site("near", "near", "isp", "CH", is_tier=True),
    )
    places = [place("b1", "b"), place("f1", "far", whole=True), place("n1", "near", whole=True)]
    its = rank_sources("g", Asker("b1", "b", 0.0, 1e6), places, over(*sites))
    assert [(source.name, source.after_s) for source in its] == [("f1", 0.0), ("n1", 30.0), ("origin", 60.0)]


def test_a_fill_cluster_cannot_take_the_name_of_a_site() -> None:
    sites = (Site("a", "a", "isp", "CH"), Site("b", "b", "isp", "CH", fill_cluster="a"))
    places = [place("a1", "a", whole=True), place("b1", "b")]
    its = rank_sources("g", Asker("b1", "b", 0.0, 1e6), places, over(*sites))
    assert [source.kind for source in its] == [SourceKind.ORIGIN]


def test_masters_are_the_same_in_every_order_of_the_places() -> None:
    places = [place(name, "s") for name in "abcdef"]
    assert masters("g", places, 3) == masters("g", places[::-1], 3)
    assert len(set(masters("g", places, 3))) == 3
    assert masters("g", [*places, place("w", "s", whole=True)], 3) == ()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_no_order_names_a_far_source_before_its_nearer_one_had_its_wait(seed: int, count: int) -> None:
    world = zipf_world(seed, titles=15)
    sites = tuple(
        msgspec.structs.replace(one, site=msgspec.structs.replace(one.site, fill_cluster="both", fill_masters=count))
        for one in world.sites
    )
    plan = make_plan(msgspec.structs.replace(world, sites=sites))
    assert plan.summary.orders
    for its in plan.appliances:
        for order in its.orders:
            waits = [source.after_s for source in order.sources]
            assert waits == sorted(waits)
            kinds = [source.kind for source in order.sources]
            assert kinds[-1] is SourceKind.ORIGIN
            assert all(
                later.after_s >= earlier.after_s + SETTINGS.escalation_s
                for earlier, later in zip(order.sources, order.sources[1:], strict=False)
                if earlier.kind is not later.kind
            )


# --- priorities


def test_pins_come_first_then_releases_by_date_then_value_per_byte() -> None:
    tasks = [
        Task("a", "dear", 1, 9.0, False),
        Task("a", "later", 1, 1.0, False, due_at=NOW + 2 * HOUR),
        Task("a", "soon-follows", 1, 5.0, True, due_at=NOW + HOUR),
        Task("a", "soon", 1, 0.5, False, due_at=NOW + HOUR),
        Task("a", "pinned", 1, 0.0, False, due_at=PINNED),
        Task("a", "cheap", 1, 0.1, False),
    ]
    assert [task.group for task in sequence(tasks)] == ["pinned", "soon", "soon-follows", "later", "dear", "cheap"]
    assert Task("a", "x", 1, 1.0, False).due_at == math.inf


def test_a_release_is_ordered_before_what_is_watched_already() -> None:
    popular = file("popular", "v", MB)
    release = file("release", "v", MB, Licence(starts_at=NOW + 15 * HOUR), published_at=NOW)
    traffic = {popular.key: steady(1000, MB)}
    plan = make_plan(snapshot([site("a", traffic, required=())], [box("a1", "a", 50 * MB)], [popular, release]))
    orders = plan.appliances[0].orders
    assert [order.key for order in orders] == [release.key, popular.key]
    assert [order.priority for order in orders] == [0, 1]


def test_a_title_that_may_not_lie_anywhere_before_its_date_is_placed_when_it_has_begun() -> None:
    starts_at = WIDE.opens_at + HOUR
    strict = file("strict", "v", MB, Licence(starts_at=starts_at, fill_ahead=False))
    ahead = file("ahead", "v", MB, Licence(starts_at=starts_at))
    world = snapshot([site("a", {}, required=(strict.key, ahead.key))], [box("a1", "a", 50 * MB)], [strict, ahead])
    plan = make_plan(world)
    assert plan.appliances[0].pins == (ahead.key,)
    assert {e.key: e.reason for e in plan.explanations}[strict.key] is Reason.NOT_LICENSED
    window = msgspec.structs.replace(WIDE, opens_at=starts_at - HOUR, closes_at=starts_at + 10 * HOUR)
    later = msgspec.structs.replace(
        world,
        now=starts_at,
        sites=(msgspec.structs.replace(world.sites[0], window=window),),
    )
    assert set(make_plan(later).appliances[0].pins) == {strict.key, ahead.key}


# --- what operators say


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.data())
def test_what_is_required_is_there_and_what_is_forbidden_is_nowhere(seed: int, data: st.DataObject) -> None:
    world = zipf_world(seed, titles=12, disk_share=0.5)
    videos = [one.key for one in world.files if one.key.endswith(".mp4")]
    smallest = min((one for one in world.files if one.key.endswith(".mp4")), key=lambda one: one.size_bytes).key
    forbidden = data.draw(st.sets(st.sampled_from([key for key in videos if key != smallest]), max_size=6))
    said = tuple(
        msgspec.structs.replace(one, required=(smallest,), forbidden=tuple(sorted(forbidden))) for one in world.sites
    )
    plan = make_plan(msgspec.structs.replace(world, sites=said))
    for site_id in ("a", "b"):
        here = {key for its in plan.appliances if its.appliance_id.startswith(site_id) for key in its.pins}
        assert smallest in here
        assert not forbidden & here
    reasons = {e.key: e.reason for e in plan.explanations}
    assert all(reasons[key] is Reason.FORBIDDEN for key in forbidden)


def test_a_draining_appliance_lets_go_of_what_is_forbidden_and_of_what_has_no_licence_any_more() -> None:
    kept, blocked = file("kept", "v", MB), file("blocked", "v", MB)
    ended = file("ended", "v", MB, Licence(ends_at=NOW - 1))
    files = [kept, blocked, ended]
    pins = tuple(one.key for one in files)
    draining = box("a1", "a", 50 * MB, held=dict.fromkeys(pins, MB), pins=pins, state=ApplianceState.DRAINING)
    here = msgspec.structs.replace(site("a", {}), forbidden=(blocked.key,))
    assert make_plan(snapshot([here], [draining], files)).appliances[0].pins == (kept.key,)


# --- sites planned alone, appliances that are lost


def test_a_plan_for_one_site_has_plans_and_explanations_for_that_site_only() -> None:
    world = msgspec.structs.replace(zipf_world(5), only=("b",), cause=PlanCause.APPLIANCE_LOST)
    plan = make_plan(world)
    assert [its.appliance_id for its in plan.appliances] == ["b1"]
    assert {e.site_id for e in plan.explanations} == {"b"}
    assert (plan.summary.sites, plan.summary.cause) == (("b",), PlanCause.APPLIANCE_LOST)
    whole = make_plan(zipf_world(5))
    assert set(plan.appliances[0].pins) == set(
        next(its.pins for its in whole.appliances if its.appliance_id == "b1")
    ), "a site's placement does not depend on whether the others are planned"


def test_a_site_that_was_never_heard_borrows_demand_although_it_is_planned_alone() -> None:
    world = zipf_world(5)
    silent = tuple(msgspec.structs.replace(one, traffic={}) if one.site.id == "b" else one for one in world.sites)
    plan = make_plan(msgspec.structs.replace(world, sites=silent, only=("b",)))
    assert plan.summary.orders


def test_what_a_lost_appliance_held_goes_to_the_one_that_is_left() -> None:
    world = zipf_world(2, disk_share=0.3)
    first = make_plan(world)
    held = {its.appliance_id: its.pins for its in first.appliances}
    size = {one.key: one.size_bytes for one in world.files}

    def as_found(lost: bool) -> Counter[str]:
        boxes = tuple(
            msgspec.structs.replace(
                entry,
                pins=held[entry.appliance.id],
                held={key: size[key] for key in held[entry.appliance.id]},
                suspect=lost and entry.appliance.id == "a1",
                lost=lost and entry.appliance.id == "a1",
            )
            for entry in world.appliances
        )
        plan = make_plan(msgspec.structs.replace(world, appliances=boxes, only=("a",)))
        orders = {its.appliance_id: [order.key for order in its.orders] for its in plan.appliances}
        assert orders["a1"] == []
        if lost:
            assert next(its for its in plan.appliances if its.appliance_id == "a1").pins == held["a1"]
            assert all(s.name != "a1" for its in plan.appliances for order in its.orders for s in order.sources)
        return Counter(orders["a2"])

    assert not as_found(lost=False)
    assert set(as_found(lost=True)) <= set(held["a1"]) | {key for key in size if key not in held["a2"]}
    assert as_found(lost=True), "the head that only the lost one held is fetched by its neighbour"
