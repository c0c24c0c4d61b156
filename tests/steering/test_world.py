"""The world under changes, the watch over suspicions, and the world in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.keysets import NO_KEYS, KeySet
from contracts.places import ApplianceState, Site
from contracts.reports import Holding
from contracts.world import Change, Holdings
from steering import archive
from steering.errors import ArchiveError
from steering.prefixes import HashedPrefixes, parse_address
from steering.ranking import rank
from steering.vigilance import WINDOW_S, Watch, observe
from steering.world import Draft, Held, World, apply, changes_of
from tests.steering.worlds import asking, box, holds, key, origin, routes, site, suspect, two_networks, well, world


def after(it: World, *changes: Change) -> World:
    for change in changes:
        it = apply(it, change, HashedPrefixes)
    return it


def test_a_world_never_changes_once_made() -> None:
    before = world(two_networks())
    copy = world(two_networks())
    after(before, suspect("a1"), holds("a1", key()), Change(2, appliance_gone="a2"), Change(3, site_gone="b"))
    assert before == copy


def test_a_snapshot_and_its_changes_one_by_one_make_the_same_world() -> None:
    assert after(World(), *two_networks()) == world(two_networks())


def test_a_draft_goes_on_after_it_was_frozen_without_touching_what_it_gave() -> None:
    draft = Draft(HashedPrefixes)
    draft.add(well("a1"))
    first = draft.freeze()
    draft.add(well("a2"))
    assert (set(first.health), set(draft.freeze().health)) == ({"a1"}, {"a1", "a2"})


def test_what_is_gone_takes_its_health_and_holdings_with_it() -> None:
    it = after(world(two_networks()), Change(9, appliance_gone="a2"), Change(10, site_gone="b"))
    assert "a2" not in it.appliances.keys() | it.health.keys() | it.holdings.keys()
    assert it.number == 10
    assert [box.id for box in it.by_site["a"]] == ["a1", "a3"]
    assert after(it, Change(11, appliance_gone="never-was")).by_site == it.by_site


def test_a_tick_moves_nothing_but_the_number() -> None:
    it = world(two_networks())
    assert after(it, Change(5, tick=True)) == World(
        5, it.sites, it.appliances, it.health, it.holdings, it.origins, it.by_site, it.prefixes
    )


def test_holdings_follow_deltas_and_a_part_of_a_file_is_not_held() -> None:
    it = after(world(two_networks()), holds("a1", "one", "two", planned=("three",)))
    delta = (
        Holding("two", 5, 10, pinned=False),
        Holding("three", 10, 10, pinned=True),
        Holding("empty", 0, 0, pinned=False),
    )
    it = after(it, Change(2, holdings=Holdings("a1", full=False, held=delta, dropped=("one",))))
    assert it.holdings["a1"] == Held(KeySet.of(["three"]), KeySet.of(["three"]))
    assert after(it, holds("a1", "four")).holdings["a1"].planned == NO_KEYS


def covering(it: World, client: str) -> list[tuple[str, list[str]]]:
    return [(m.cidr, [a.site_id for a in m.announcements]) for m in it.covering(parse_address(client))]


def test_the_prefix_tables_are_made_again_only_by_changes_of_sites_and_routes() -> None:
    it = world(two_networks())
    for change in (suspect("a1"), holds("a1", key()), Change(2, appliance_gone="a2"), origin(), Change(3, tick=True)):
        later = after(it, change)
        assert (later.prefixes is it.prefixes, later.guesses is it.guesses) == (True, True)
    changed = after(it, routes("a", "10.9.0.0/16"))
    assert (changed.prefixes is it.prefixes, changed.guesses is it.guesses) == (False, True)
    assert covering(it, "10.9.0.1") == []


def test_routes_come_and_go_beside_what_the_record_of_the_site_says() -> None:
    it = after(world(two_networks()), routes("a", "10.1.0.0/16", "10.3.0.0/16"), routes("b", "10.3.0.0/16"))
    assert covering(it, "10.1.0.1") == [("10.1.0.0/16", ["a", "a"])]
    assert covering(it, "10.3.0.1") == [("10.3.0.0/16", ["a", "b"])]
    it = after(it, routes("a", gone=("10.1.0.0/16", "10.3.0.0/16")))
    assert covering(it, "10.1.0.1") == [("10.1.0.0/16", ["a"])]
    assert covering(it, "10.3.0.1") == [("10.3.0.0/16", ["b"])]
    it = after(it, routes("b", "10.4.0.0/16", full=True))
    assert covering(it, "10.3.0.1") == []
    assert covering(it, "10.2.0.1") == [("10.2.0.0/16", ["b"])]


def test_a_site_that_goes_takes_its_routes_with_it_and_one_that_changes_keeps_them() -> None:
    it = after(world(two_networks()), routes("b", "10.7.0.0/16"), site("b", "10.8.0.0/16"))
    assert [covering(it, f"10.{n}.0.1") for n in (2, 7, 8)] == [
        [],
        [("10.7.0.0/16", ["b"])],
        [("10.8.0.0/16", ["b"])],
    ]
    it = after(it, Change(9, site_gone="b"))
    assert [covering(it, f"10.{n}.0.1") for n in (2, 7, 8)] == [[], [], []]


def test_what_a_geo_database_says_stands_behind_all_that_is_announced() -> None:
    it = after(world(two_networks()), routes("b", "10.1.0.0/24", "192.0.2.0/24", guessed=True))
    assert covering(it, "10.1.0.1") == [("10.1.0.0/16", ["a"]), ("10.1.0.0/24", ["b"])]
    assert covering(it, "192.0.2.1") == [("192.0.2.0/24", ["b"])]
    assert rank(it, asking("192.0.2.1")).site_id == "b"
    assert rank(it, asking("10.1.0.1")).site_id == "a"


def test_a_route_that_is_no_prefix_is_left_out_and_shown() -> None:
    it = after(world(two_networks()), routes("a", "10.5.0.0/16", "10.5.0.1/16", "x" * 20, gone=("nonsense",)))
    assert it.quarantined == ("a 10.5.0.1/16", f"a {'x' * 20}")
    assert covering(it, "10.5.0.1") == [("10.5.0.0/16", ["a"])]


def test_routes_are_saved_beside_the_world_and_read_back(tmp_path: Path) -> None:
    many = tuple(f"10.{n // 256}.{n % 256}.0/24" for n in range(1200))
    it = after(world(two_networks()), routes("a", *many), routes("b", "192.0.2.0/24", guessed=True))
    archive.save(it, tmp_path / "world")
    archive.save_routes(it, tmp_path / "world")
    read = archive.load(tmp_path / "world", HashedPrefixes)
    assert read == it
    assert set(read.prefixes.announced()) == set(it.prefixes.announced())
    assert set(read.guesses.announced()) == set(it.guesses.announced())
    (tmp_path / archive.ROUTES_NAME).write_bytes(b"{")
    with pytest.raises(ArchiveError, match="the last routes cannot be read"):
        archive.load(tmp_path / "world", HashedPrefixes)


def test_what_is_no_prefix_is_quarantined_and_costs_the_others_nothing() -> None:
    it = world([site("a", "10.0.0.0/8", "10.0.0.1/8", "nonsense"), site("b", "2001:db8::/32")])
    assert it.quarantined == ("a 10.0.0.1/8", "a nonsense")
    assert apply(it, site("a", "10.0.0.0/8"), HashedPrefixes).quarantined == ()


def region(*, boxes_per_site: dict[str, int], dead: tuple[str, ...] = ()) -> World:
    changes = [site(name, region="CH") for name in boxes_per_site]
    for name, count in boxes_per_site.items():
        for n in range(count):
            changes += [box(f"{name}{n}", name), suspect(f"{name}{n}") if f"{name}{n}" in dead else well(f"{name}{n}")]
    return world(changes)


THREE_SITES = {"a": 4, "b": 4, "c": 4}


def test_many_new_suspects_in_two_sites_within_seconds_are_doubted() -> None:
    watch = observe(Watch(), region(boxes_per_site=THREE_SITES, dead=("a0", "b0")), 100.0)
    assert watch.doubted == frozenset()
    watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=("a0", "b0", "b1")), 109.0)
    assert watch.doubted == {"a0", "b0", "b1"}
    assert watch.monitoring_doubted


@pytest.mark.parametrize(
    ("boxes", "dead"),
    [
        ({"a": 10, "b": 1}, ("a0", "a1", "a2")),  # one site
        ({"a": 2, "b": 2}, ("a0", "b0")),  # two appliances
        ({"a": 10, "b": 10}, ("a0", "b0", "b1")),  # less than a fifth
        ({"a": 5, "b": 10}, ("a0", "b0", "b1")),  # exactly a fifth
    ],
)
def test_fewer_are_believed(boxes: dict[str, int], dead: tuple[str, ...]) -> None:
    assert observe(Watch(), region(boxes_per_site=boxes, dead=dead), 0.0).doubted == frozenset()


def test_suspects_that_come_slowly_are_believed() -> None:
    watch, dead = Watch(), ("a0", "b0", "b1", "c0", "c1")
    for n in range(1, len(dead) + 1):
        watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=dead[:n]), n * (WINDOW_S + 1))
        assert watch.doubted == frozenset()


@pytest.mark.parametrize(("last_s", "is_doubted"), [(WINDOW_S, True), (WINDOW_S + 0.001, False)])
def test_suspects_of_the_last_ten_seconds_are_counted_and_no_older_one(last_s: float, is_doubted: bool) -> None:
    watch = observe(Watch(), region(boxes_per_site=THREE_SITES, dead=("a0",)), 100.0)
    watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=("a0", "b0")), 100.0 + last_s / 2)
    watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=("a0", "b0", "b1")), 100.0 + last_s)
    assert watch.monitoring_doubted is is_doubted


@pytest.mark.parametrize(("serving", "is_doubted"), [(14, True), (15, False)])
def test_more_than_a_fifth_of_what_serves_is_needed_and_a_fifth_is_not_more(serving: int, is_doubted: bool) -> None:
    sites = {"a": serving - 2, "b": 2}
    watch = observe(Watch(), region(boxes_per_site=sites, dead=("a0", "a1", "b0")), 0.0)
    assert watch.monitoring_doubted is is_doubted


def test_doubt_lasts_while_so_many_are_away_and_ends_when_they_return() -> None:
    many = ("a0", "a1", "b0", "b1", "c0")
    watch = observe(Watch(), region(boxes_per_site=THREE_SITES, dead=many), 0.0)
    watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=(*many, "c1")), 3600.0)
    assert watch.doubted == {*many, "c1"}
    watch = observe(watch, region(boxes_per_site=THREE_SITES, dead=("a0", "b0")), 3700.0)
    assert watch.doubted == frozenset()


def test_regions_are_watched_apart_and_retired_boxes_are_not_counted() -> None:
    changes = [site("a", region="CH"), site("b", region="DE"), Change(1, site=Site("c", "c", "isp", "DE"))]
    for name in ("a0", "b0", "c0"):
        changes += [box(name, name[0]), suspect(name)]
    assert observe(Watch(), world(changes), 0.0).doubted == frozenset()
    gone = [box(f"c{n}", "c", state=ApplianceState.RETIRED) for n in range(1, 4)] + [
        suspect(f"c{n}") for n in range(1, 4)
    ]
    assert observe(Watch(), world([*changes, *gone]), 0.0).doubted == frozenset()


def test_a_saved_world_is_read_back_the_same(tmp_path: Path) -> None:
    it = world(two_networks())
    assert archive.save(it, tmp_path / "world") > 100
    assert archive.load(tmp_path / "world", HashedPrefixes) == it
    assert list(changes_of(it))[-1].snapshot_complete
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_file_that_is_missing_or_broken_is_no_world(tmp_path: Path) -> None:
    assert archive.load(tmp_path / "none", HashedPrefixes) is None
    archive.save(world(two_networks()), tmp_path / "cut")
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(ArchiveError, match="not whole"):
        archive.load(tmp_path / "cut", HashedPrefixes)
    (tmp_path / "cut").write_bytes(whole[:-20])
    with pytest.raises(ArchiveError, match="cannot be read"):
        archive.load(tmp_path / "cut", HashedPrefixes)


def test_an_answer_names_the_world_it_came_from() -> None:
    assert rank(after(world(two_networks()), Change(77, tick=True)), asking()).world_number == 77
    assert world([origin()]).is_empty is False
