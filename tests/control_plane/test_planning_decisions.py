"""What pins mean, when a site is planned anew, what appliances are told out of cycle, and how feeds are read: pure decisions."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalogue import FileKind
from contracts.pins import Pin, PinKind, PinRequest, PlacedOrder, Preposition, PrepositionRequest
from contracts.places import Site
from contracts.plans import AppliancePlan, Order, PlanCause, RankedSource, Reason, SourceKind
from control_plane import composing, losses, pinning
from control_plane.composing import Told
from control_plane.feeding import FeedError, read_feed
from control_plane.losses import Doubt, Seen
from fill_planner.snapshot import CatalogueFile, SiteWindow

NOW = 1_700_000_000.0
HOUR = 3600.0
SITE = Site("a", "a", "isp", "DE")
WINDOW = SiteWindow(NOW + HOUR, NOW + 13 * HOUR, 8_000_000, 10**9)
CLOSES = WINDOW.closes_at
FILES = tuple(
    CatalogueFile(f"vod|/media/{title}/hd/{name}", f"{title}/{name}", title, FileKind.VIDEO, 10, "x")
    for title in ("sea", "sky")
    for name in ("v1.mp4", "v2.mp4")
)


# --- pins


def pin(kind: PinKind, number: int = 1, **wanted: object) -> Pin:
    return Pin(number, PinRequest(kind, **wanted), "anna", NOW)  # type: ignore[arg-type]


def keys(*pins: Pin, site: Site = SITE, window: SiteWindow = WINDOW) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return pinning.keys_at(site, window, NOW, pins, pinning.keys_of_pins(pins, FILES))


def test_a_title_means_all_its_files_and_a_key_itself() -> None:
    required, forbidden = keys(
        pin(PinKind.ALWAYS, 1, title_id="sea"), pin(PinKind.NEVER, 2, key="vod|/media/sky/hd/v1.mp4")
    )
    assert required == ("vod|/media/sea/hd/v1.mp4", "vod|/media/sea/hd/v2.mp4")
    assert forbidden == ("vod|/media/sky/hd/v1.mp4",)


def test_never_beats_always() -> None:
    required, forbidden = keys(
        pin(PinKind.ALWAYS, 1, title_id="sea", site_id="a"), pin(PinKind.NEVER, 2, key="vod|/media/sea/hd/v1.mp4")
    )
    assert required == ("vod|/media/sea/hd/v2.mp4",)
    assert forbidden == ("vod|/media/sea/hd/v1.mp4",)


def test_a_pin_holds_in_its_region_and_at_its_site_only() -> None:
    other = Site("b", "b", "isp", "CH")
    for region, site_id, here, there in (("DE", "", True, False), ("", "b", False, True), ("", "", True, True)):
        one = pin(PinKind.ALWAYS, title_id="sea", region=region, site_id=site_id)
        assert (bool(keys(one)[0]), bool(keys(one, site=other)[0])) == (here, there)


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "speaks"),
    [
        (None, None, True),
        (CLOSES + 23 * HOUR, None, True),
        (CLOSES + 24 * HOUR, None, False),
        (None, WINDOW.opens_at, False),
        (None, WINDOW.opens_at + 1, True),
    ],
)
def test_a_pin_speaks_of_the_night_before_its_date(
    starts_at: float | None, ends_at: float | None, speaks: bool
) -> None:
    for kind, place in ((PinKind.ALWAYS, 0), (PinKind.NEVER, 1)):
        found = keys(pin(kind, title_id="sea", starts_at=starts_at, ends_at=ends_at))
        assert bool(found[place]) is speaks


def test_everything_wrong_with_a_pin_is_told_at_once() -> None:
    wanted = PinRequest(PinKind.ALWAYS, "k", "t", "XX", "a", NOW + 2, NOW + 1)
    assert [line.partition(":")[0] for line in pinning.wrong_pin(wanted, {"a": SITE}, NOW + 5)] == [
        "key, title_id", "site_id, region", "ends_at", "ends_at",
    ]  # fmt: skip
    fine = PinRequest(PinKind.NEVER, key="vod|/media/a/hd/b.mp4", region="DE")
    assert pinning.wrong_pin(fine, {"a": SITE}, NOW) == ()
    assert pinning.wrong_pin(msgspec.structs.replace(fine, region="FR"), {"a": SITE}, NOW) == (
        "region: there is no site in region 'FR'",
    )
    assert "not a cache key" in pinning.wrong_pin(msgspec.structs.replace(fine, key="b.mp4"), {"a": SITE}, NOW)[0]


# --- planning anew


def test_an_appliance_that_comes_back_within_the_patience_changes_nothing() -> None:
    planned = {"a1": Seen(False, 100), "a2": Seen(False, 100)}
    doubts: dict[str, Doubt] = {}
    for now_s, lost in ((0.0, True), (599.0, True), (599.5, False), (600.0, True), (1199.0, True)):
        causes = {"a": losses.cause_of(planned, {"a1": Seen(lost, 100), "a2": Seen(False, 100)})}
        doubts = losses.doubts_after(doubts, causes, now_s)
        assert losses.due(doubts, now_s, 600.0) == {}
    doubts = losses.doubts_after(doubts, {"a": PlanCause.APPLIANCE_LOST}, 1200.0)
    assert losses.due(doubts, 1200.0, 600.0) == {"a": PlanCause.APPLIANCE_LOST}


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (Seen(False, 100), Seen(False, 100), None),
        (Seen(False, 1000), Seen(False, 991), None),
        (Seen(False, 100), Seen(False, 50), PlanCause.DISK_LOST),
        (Seen(False, 100), Seen(False, 200), None),
        (Seen(False, 100), Seen(True, 100), PlanCause.APPLIANCE_LOST),
        (Seen(False, 100), Seen(True, 50), PlanCause.APPLIANCE_LOST),
        (Seen(True, 100), Seen(True, 50), None),
        (Seen(True, 100), Seen(False, 100), PlanCause.APPLIANCE_BACK),
        (Seen(False, 100), None, PlanCause.APPLIANCE_LOST),
    ],
)
def test_what_differs_from_what_the_plan_was_made_for(
    before: Seen, after: Seen | None, cause: PlanCause | None
) -> None:
    assert losses.cause_of({"a1": before}, {} if after is None else {"a1": after}) is cause


def test_an_appliance_that_is_new_waits_for_the_night() -> None:
    assert losses.cause_of({}, {"a9": Seen(False, 100)}) is None


def test_when_most_are_suspect_it_is_rather_the_record_that_lost_them() -> None:
    assert not losses.is_ours(2, 2), "two appliances may well be all there are"
    assert not losses.is_ours(3, 6)
    assert losses.is_ours(4, 6)


# --- out of cycle


def order(name: str, after_s: float = 30.0) -> Order:
    sources = (
        RankedSource(SourceKind.PEER, "p", "https://p", 0.0),
        RankedSource(SourceKind.ORIGIN, "o", "https://o", after_s),
    )
    return Order(f"id-{name}", f"vod|/media/{name}/hd/v.mp4", 1_000_000, "x", 0, sources, Reason.POPULAR, 1.0, 1.0)


def standing(box: str, *names: str, opens_at: float = NOW - HOUR, closes_at: float = NOW + HOUR) -> AppliancePlan:
    orders = tuple(order(name) for name in names)
    pins = tuple(one.key for one in orders)
    return AppliancePlan(5, box, opens_at - 600, opens_at, closes_at, 4_000_000, 10_000_000, pins, orders)


def preposition(*orders: tuple[str, str], until: float = NOW + HOUR, rate_bps: int = 0, number: int = 1) -> Preposition:
    wanted = PrepositionRequest(until, title_id="t", site_id="a", rate_bps=rate_bps)
    return Preposition(number, wanted, "anna", NOW, tuple(PlacedOrder(box, order(name, 0.0)) for box, name in orders))


TOLD = Told(9, NOW, 8_000_000, {})


def test_in_an_open_window_orders_out_of_cycle_come_first_and_its_caps_hold() -> None:
    plans = {"a1": standing("a1", "x", "y"), "a2": standing("a2", "z")}
    told = composing.compose(plans, plans, [preposition(("a1", "now"))], TOLD)
    first = told["a1"]
    assert [one.id for one in first.orders] == ["id-now", "id-x", "id-y"]
    assert [one.priority for one in first.orders] == [0, 1, 2]
    assert set(first.pins) == {*plans["a1"].pins, order("now").key}
    for box_id, plan in told.items():
        before = plans[box_id]
        assert (plan.window_opens_at, plan.window_closes_at) == (before.window_opens_at, before.window_closes_at)
        assert (plan.rate_bps, plan.number, plan.created_at) == (before.rate_bps, 9, NOW)
    assert [one.id for one in told["a2"].orders] == ["id-z"]


def test_a_plan_told_anew_gives_no_volume_twice_and_begins_no_wait_again() -> None:
    plans = {"a1": standing("a1", "x", opens_at=NOW - 20.0)}
    told = told_with(used={"a1": 9_999_000})
    plan = composing.compose(plans, plans, [], told)["a1"]
    assert plan.volume_bytes == 1_000
    assert [source.after_s for source in plan.orders[0].sources] == [0.0, 10.0]
    spent = composing.compose(plans, plans, [], told_with(used={"a1": 11_000_000}))["a1"]
    assert spent.volume_bytes == 1, "0 would be no cap at all"
    full = {"a1": msgspec.structs.replace(plans["a1"], volume_bytes=0)}
    assert composing.compose(full, full, [], told)["a1"].volume_bytes == 1, "of a plan that was given nothing, too"


def told_with(used: dict[str, int]) -> Told:
    return Told(9, NOW, 8_000_000, used)


def test_outside_the_window_there_is_one_of_its_own_that_ends_when_the_next_one_opens() -> None:
    tonight = standing("a1", "x", opens_at=NOW + 600.0, closes_at=NOW + 3600.0)
    plans = {"a1": tonight, "a2": standing("a2", "z", opens_at=NOW + 600.0, closes_at=NOW + 3600.0)}
    told = composing.compose(plans, plans, [preposition(("a1", "now"))], TOLD)
    small = told["a1"]
    assert (small.window_opens_at, small.window_closes_at) == (NOW, NOW + 600.0)
    assert [one.id for one in small.orders] == ["id-now"]
    assert set(small.pins) == {*tonight.pins, order("now").key}
    assert told["a2"].orders == plans["a2"].orders
    alone = composing.compose({}, ["a1"], [preposition(("a1", "now"))], TOLD)["a1"]
    assert alone.window_closes_at == NOW + HOUR
    assert alone.pins == (order("now").key,)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a1", "a2", "a3"]), st.sampled_from("stuvw")), min_size=1, max_size=8),
    st.sampled_from([0, 1000, 500_000, 10**10]),
    st.integers(1, 10**9),
    st.floats(1.0, 86400.0),
    st.booleans(),
)
def test_the_rates_of_a_site_never_exceed_its_own(
    wanted: list[tuple[str, str]], rate_bps: int, site_rate_bps: int, lasts_s: float, planned: bool
) -> None:
    plans = {"a1": standing("a1", "x", opens_at=NOW + 90_000, closes_at=NOW + 95_000)} if planned else {}
    active = [preposition(*wanted, until=NOW + lasts_s, rate_bps=rate_bps)]
    told = composing.compose(plans, ["a1", "a2", "a3"], active, Told(9, NOW, site_rate_bps, {}))
    busy = [plan for plan in told.values() if plan.window_opens_at == NOW]
    assert {plan.appliance_id for plan in busy} == {box for box, _ in wanted}
    assert sum(plan.rate_bps for plan in busy) <= max(site_rate_bps, len(busy))
    for plan in busy:
        mine = {name for box, name in wanted if box == plan.appliance_id}
        assert {one.id for one in plan.orders} == {f"id-{name}" for name in mine}
        assert plan.volume_bytes >= sum(one.size_bytes for one in plan.orders)
        assert plan.window_closes_at > NOW


def test_a_site_is_told_anew_only_when_its_phase_changes() -> None:
    plan = standing("a1", "x")
    one = preposition(("a1", "now"))
    phase = composing.phase_of([plan], [one], NOW)
    assert phase == composing.phase_of([plan], [one], NOW + 60)
    assert phase != composing.phase_of([plan], [], NOW)
    assert phase != composing.phase_of([plan], [one], plan.window_closes_at)
    assert phase != composing.phase_of([msgspec.structs.replace(plan, number=6)], [one], NOW)
    assert not composing.is_active(one, one.wanted.until)
    assert not composing.is_active(msgspec.structs.replace(one, cancelled_at=NOW), NOW)


def test_a_plan_without_a_title_has_neither_its_pins_nor_its_orders() -> None:
    plan = standing("a1", "x", "y")
    left = composing.without_keys(plan, frozenset({order("x").key}), TOLD)
    assert left.pins == (order("y").key,)
    assert [one.id for one in left.orders] == ["id-y"]
    assert left.number == 9


# --- feeds


def test_a_feed_is_read_with_paths_keys_and_both_kinds_of_instants() -> None:
    text = (
        "\ufefffile,hour,views\r\n/media/a/hd/v.mp4,2026-01-01T00:30:00Z,2\n"
        "vod|/media/a/hd/v.mp4,1767225600,1.5\n\n/media/b/hd/v.mp4,2026-01-01T02:00+01:00,3\n"
    )
    facts, rows = read_feed("chart", text, NOW)
    assert rows == [("vod|/media/a/hd/v.mp4", 1767225600, 3.5), ("vod|/media/b/hd/v.mp4", 1767229200, 3.0)]
    assert (facts.rows, facts.files, facts.views) == (2, 2, 6.5)
    assert (facts.first_hour, facts.last_hour) == (1767225600, 1767229200)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the columns must be file,hour,views, not nothing"),
        ("key,views\n", "not key,views"),
        ("file,hour,views\n", "there is no row"),
        ("file,hour,views\n/media/a/hd/v.mp4,soon,1\n", "line 2: "),
        ("file,hour,views\n/media/a/hd/v.mp4,0,-1\n", "line 2: views '-1'"),
        ("file,hour,views\n/media/a/hd/v.mp4,0,nan\n", "line 2: views 'nan'"),
        ("file,hour,views\nv.mp4,0,1\n", "line 2: not a cache key"),
        ("file,hour,views\n/media/a/hd/v.mp4,0\n", "line 2: has 2 cells instead of 3"),
        ("file,hour,views\n/media/a/hd/v.mp4,1700000000000,1\n", "line 2: hour '1700000000000' is not an instant"),
    ],
)
def test_a_text_that_is_no_feed_is_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(FeedError) as caught:
        read_feed("chart", text, NOW)
    assert words in caught.value.lines[0]


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        facts, rows = read_feed("chart", "file,hour,views\n" + text, NOW)
    except FeedError:
        pass
    else:
        assert facts.rows == len(rows) > 0
        assert all(math.isfinite(views) and views >= 0 for _, _, views in rows)
