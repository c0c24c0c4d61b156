"""Orders out of cycle: where they go, what they may take, and what is refused in words."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalogue import Licence
from contracts.plans import Reason, SourceKind
from fill_planner.config import PlannerSettings
from fill_planner.outofcycle import ROOM_SHARE, Placed, place_now
from fill_planner.plan import make_plan
from fill_planner.snapshot import PlanningSnapshot
from tests.fill_planner.worlds import HOUR, MB, NOW, WIDE, box, file, playlist, site, snapshot, steady, zipf_world

SETTINGS = PlannerSettings()
UNTIL = NOW + 2 * HOUR
VIDEO = file("film", "v-720", 10 * MB)
FILES = [VIDEO, playlist(VIDEO)]


def placed(world: PlanningSnapshot, *, until: float = UNTIL, rate_bps: int = 0, taken: dict[str, int] | None = None) -> Placed:  # fmt: skip
    only = world.only or tuple(one.site.id for one in world.sites)
    keys = frozenset(one.key for one in world.files if one.title_id == "film")
    return place_now(msgspec.structs.replace(world, only=only), keys, until, rate_bps, taken or {}, SETTINGS)


def test_a_group_goes_to_one_appliance_per_cluster_the_playlist_first() -> None:
    world = snapshot([site("a", {})], [box("a1", "a", 500 * MB), box("a2", "a", 500 * MB)], FILES)
    found = placed(world)
    assert (found.refused, found.held) == ((), 0)
    assert len({one.appliance_id for one in found.orders}) == 1
    assert [one.order.key for one in found.orders] == [FILES[1].key, FILES[0].key]
    assert [one.order.priority for one in found.orders] == [0, 1]
    assert all(one.order.reason is Reason.PINNED for one in found.orders)


def test_the_same_fetch_has_the_id_that_it_has_at_night() -> None:
    world = snapshot([site("a", {VIDEO.key: steady(10, VIDEO.size_bytes)})], [box("a1", "a", 500 * MB)], FILES)
    night = {order.key: order.id for order in make_plan(world).appliances[0].orders}
    assert {one.order.key: one.order.id for one in placed(world).orders} == night


def test_who_holds_most_of_it_gets_it_and_a_whole_neighbour_is_the_first_source() -> None:
    held = {VIDEO.key: 9 * MB}
    whole = {one.key: one.size_bytes for one in FILES}
    world = snapshot(
        [site("a", {}), site("b", {})],
        [
            box("a1", "a", 500 * MB),
            box("a2", "a", 500 * MB, held=held),
            box("a3", "a", 500 * MB, held=whole, cluster="other"),
        ],
        FILES,
    )
    found = placed(msgspec.structs.replace(world, only=("a",)))
    assert {one.appliance_id for one in found.orders} == {"a2", "a3"}
    assert found.held == 2
    first = next(one.order for one in found.orders if one.appliance_id == "a2")
    assert (first.sources[0].kind, first.sources[0].name) == (SourceKind.PEER, "a3")
    assert first.sources[-1].kind is SourceKind.ORIGIN


def test_nothing_that_is_placed_by_plan_gives_way() -> None:
    cache = int(100 * MB * 0.15 * ROOM_SHARE)
    assert cache < 10 * MB
    world = snapshot([site("a", {})], [box("a1", "a", 100 * MB)], FILES)
    (sentence,) = placed(world).refused
    assert "film/v-720: needs 10.0 MB" in sentence
    assert "7.5 MB left for orders out of cycle" in sentence
    assert placed(world).orders == ()


def test_what_the_plan_keeps_there_already_needs_no_room() -> None:
    pins = tuple(one.key for one in FILES)
    world = snapshot([site("a", {})], [box("a1", "a", 20 * MB, pins=pins)], FILES)
    assert len(placed(world).orders) == 2


def test_room_is_given_once() -> None:
    world = snapshot([site("a", {})], [box("a1", "a", 200 * MB)], FILES)
    assert placed(world).orders
    assert placed(world, taken={"a1": 6 * MB}).orders == ()


@pytest.mark.parametrize(
    ("window", "until", "rate_bps", "words"),
    [
        (WIDE, NOW + 10.0, 8 * MB, "8.0 Mb/s until the end carry 9.0 MB"),
        (msgspec.structs.replace(WIDE, rate_bps=1000), UNTIL, 0, "0.0 Mb/s until the end"),
        (msgspec.structs.replace(WIDE, volume_bytes=MB), UNTIL, 0, "1.0 MB are left of the site's volume"),
    ],
)
def test_what_does_not_fit_the_caps_is_refused_whole(window: object, until: float, rate_bps: int, words: str) -> None:
    one = msgspec.structs.replace(site("a", {}), window=window)
    found = placed(snapshot([one], [box("a1", "a", 500 * MB)], FILES), until=until, rate_bps=rate_bps)
    assert found.orders == ()
    assert words in found.refused[0]


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        (Licence(regions=("DE",)), "does not cover this site"),
        (Licence(starts_at=NOW + HOUR, fill_ahead=False), "does not cover this site"),
        (Licence(starts_at=NOW + 30 * HOUR), "does not cover this site"),
        (Licence(ends_at=NOW + HOUR), "ends before the order does"),
        (Licence(starts_at=NOW + HOUR), ""),
        (Licence(ends_at=NOW + 3 * HOUR), ""),
    ],
)
def test_a_licence_holds_out_of_cycle_too(licence: Licence, words: str) -> None:
    files = [msgspec.structs.replace(one, licence=licence) for one in FILES]
    found = placed(snapshot([site("a", {})], [box("a1", "a", 500 * MB)], files))
    assert bool(found.orders) == (not words)
    assert all(words in sentence for sentence in found.refused)


def test_what_an_operator_forbids_is_refused_and_so_is_a_site_where_nobody_can_be_filled() -> None:
    no = msgspec.structs.replace(site("a", {}), forbidden=(VIDEO.key,))
    gone = msgspec.structs.replace(box("b1", "b", 500 * MB), lost=True)
    found = placed(snapshot([no, site("b", {})], [box("a1", "a", 500 * MB), gone], FILES))
    assert found.refused == (
        "a: film/v-720: an operator wants it nowhere here",
        "b: no appliance there can be filled now",
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 20),
    st.integers(1_000_000, 2_000_000_000),
    st.floats(1.0, 20_000.0),
    st.floats(0.1, 4.0),
)
def test_no_cap_and_no_room_is_ever_exceeded(
    seed: int, titles: int, rate_bps: int, lasts_s: float, disk_share: float
) -> None:
    world = zipf_world(seed, titles=titles, disk_share=disk_share)
    sites = tuple(
        msgspec.structs.replace(one, window=msgspec.structs.replace(WIDE, rate_bps=rate_bps, volume_bytes=60 * MB))
        for one in world.sites
    )
    world = msgspec.structs.replace(world, sites=sites, only=("a", "b"))
    keys = frozenset(one.key for one in world.files)
    found = place_now(world, keys, NOW + lasts_s, 0, {}, SETTINGS)
    disks = {entry.appliance.id: entry.appliance for entry in world.appliances}
    for site_id in ("a", "b"):
        its = [one for one in found.orders if disks[one.appliance_id].site_id == site_id]
        total = sum(one.order.size_bytes for one in its)
        assert total <= 60 * MB
        assert total * 8 <= rate_bps * lasts_s
        for box_id in {one.appliance_id for one in its}:
            mine = sum(one.order.size_bytes for one in its if one.appliance_id == box_id)
            assert mine <= disks[box_id].disk_bytes * disks[box_id].cache_share * ROOM_SHARE
    assert len({(one.appliance_id, one.order.id) for one in found.orders}) == len(found.orders)
    assert bool(found.orders) or bool(found.refused)
