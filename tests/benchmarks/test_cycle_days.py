"""Rows and laws of the cycle from made counters: every law can break, and breaks alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.cycle import report
from benchmarks.cycle.catalogue import DAY_S, HOUR_S
from benchmarks.cycle.days import Law, Run, cap_excess, day_rows, laws, plateau
from benchmarks.cycle.viewers import Tally
from benchmarks.cycle.watching import BoxFigures, Ordered, Sample, SiteCounters, ordered_of
from contracts.plans import AppliancePlan, Order, Reason

MB = 1_000_000
RATE_BPS = 8 * MB
"""A megabyte a second."""


def sample(
    at_h: float, *, asked: int = 0, filled: int = 0, peer: int = 0, open_: int = 0, plan: int | None = None
) -> Sample:
    """An instant of a run whose compressed hour takes a second; amounts in megabytes."""
    made = int(at_h // 24) if at_h % 24 >= 1 else int(at_h // 24) - 1
    number = made + 1 if plan is None else plan
    planned = SiteCounters({"origin": asked * MB, "peer": 5 * MB}, {"origin": filled * MB, "peer": peer * MB})
    pulled = SiteCounters({"origin": 2 * asked * MB}, {})
    box = BoxFigures("a", number, 4, 4 - open_, 0, open_, 30 * MB, connected=True)
    other = BoxFigures("b", number, 0, 0, 0, 0, 40 * MB, connected=True)
    return Sample(
        at_h * HOUR_S,
        at_h,
        number,
        (number - 1) * DAY_S + HOUR_S,
        {"a": planned, "b": pulled},
        {"a1": box, "b1": other},
    )


def two_days() -> Run:
    """Undisturbed: 100 MB a day and site; 40 MB from outside at the planned site on the first day, 20 MB on the second."""
    return Run(
        days=2,
        samples=[
            sample(0.0),
            sample(12.0, asked=30, filled=20, peer=10),
            sample(24.0, asked=40, filled=20, peer=10),
            sample(36.0, asked=50, filled=30, peer=15),
            sample(48.0, asked=60, filled=30, peer=15),
        ],
        tallies={site: {day: Tally(views=10, delivered_bytes=100 * MB) for day in (0, 1)} for site in ("a", "b")},
        ordered={(1, "a"): Ordered(20 * MB, 4), (2, "a"): Ordered(10 * MB, 4)},
        ideal=[0.3, 0.5],
        site_disk_bytes=60 * MB,
        rate_bps=5 * RATE_BPS,
        planned="a",
        pulled="b",
    )


def broken(run: Run) -> set[str]:
    return {law.name for law in laws(run, day_rows(run)) if not law.holds}


def test_a_row_says_what_came_from_inside_and_what_was_filled() -> None:
    first, second = day_rows(two_days())
    assert [first.planned.inside_share, first.pulled.inside_share] == pytest.approx([0.6, 0.2])
    assert [second.planned.inside_share, second.pulled.inside_share] == pytest.approx([0.8, 0.6])
    assert second.gain == pytest.approx(20.0)
    assert second.planned.fill_bytes == {"origin": 10 * MB, "peer": 5 * MB}
    assert second.planned.outside_per_unique == pytest.approx(1.0)
    assert second.planned.held_share == pytest.approx(0.5)
    assert (second.planned.orders, second.planned.done) == (4, 4)


def test_bytes_straight_from_the_origin_came_from_outside() -> None:
    run = two_days()
    tallies = {**run.tallies, "a": {**run.tallies["a"], 0: Tally(delivered_bytes=100 * MB, direct_bytes=10 * MB)}}
    assert day_rows(replace(run, tallies=tallies))[0].planned.inside_share == pytest.approx(0.5)


def test_an_undisturbed_run_breaks_no_law() -> None:
    assert broken(two_days()) == set()


def test_each_law_breaks_by_what_it_forbids_and_by_nothing_else() -> None:
    run = two_days()
    wrong = {**run.tallies, "b": {0: Tally(delivered_bytes=100 * MB, wrong_blocks=1)}}
    lost = {**run.tallies, "a": {0: Tally(delivered_bytes=100 * MB, not_served=1)}}
    stuck = [*run.samples[:-1], sample(48.0, asked=60, filled=30, peer=15, open_=1)]
    filled = {"a": run.samples[-1].sites["a"], "b": SiteCounters({}, {"origin": 1})}
    assert broken(replace(run, tallies=wrong)) == {"every block is what was published"}
    assert broken(replace(run, tallies=lost)) == {"every range was served"}
    assert broken(replace(run, samples=stuck)) == {"orders end with the window"}
    assert broken(replace(run, rate_bps=RATE_BPS)) == {"the cap holds"}
    assert broken(replace(run, ordered={(1, "a"): Ordered(20 * MB, 4), (2, "a"): Ordered(9 * MB, 4)})) == {
        "fills fetch each byte once from outside"
    }
    assert broken(replace(run, samples=[*run.samples[:-1], replace(run.samples[-1], sites=filled)])) == {
        "the other site is not filled"
    }


def test_where_second_copies_are_ordered_some_bytes_come_from_a_neighbour() -> None:
    run = two_days()
    copies = {place: replace(ordered, copies=1) for place, ordered in run.ordered.items()}
    alone = [
        replace(one, sites={**one.sites, "a": replace(one.sites["a"], fill_bytes={"origin": 30 * MB})})
        for one in run.samples
    ]
    assert broken(replace(run, ordered=copies)) == set()
    assert broken(replace(run, samples=alone)) == set()
    assert broken(replace(run, samples=alone, ordered=copies)) == {"neighbours fill each other"}


def test_an_order_is_a_copy_where_the_plan_of_a_neighbour_has_the_file_too() -> None:
    def plan(box: str, *ordered: str, pins: tuple[str, ...]) -> AppliancePlan:
        orders = tuple(Order(f"{box}-{key}", key, MB, "", 0, (), Reason.POPULAR, 1.0, 1.0) for key in ordered)
        return AppliancePlan(1, box, 0.0, 0.0, 1.0, 0, 0, pins, orders)

    found = ordered_of({"a1": plan("a1", "x", "y", pins=("x", "y", "z")), "a2": plan("a2", "x", "z", pins=("x", "z"))})
    assert found == Ordered(3 * MB, 4, 3)


def test_a_night_without_a_plan_breaks_its_law() -> None:
    run = two_days()
    samples = [replace(one, plan_number=1, plan_made_at_s=HOUR_S) if one.at_s > DAY_S else one for one in run.samples]
    assert "a plan was made every night" in broken(replace(run, samples=samples))


def test_the_cap_is_looked_at_over_any_ten_seconds_and_not_over_shorter_bursts() -> None:
    burst = [sample(0.0), sample(1.0, filled=8), sample(20.0, filled=8), sample(40.0, filled=8)]
    steady = [sample(float(second), filled=2 * second) for second in range(40)]
    assert cap_excess(burst, "a", RATE_BPS) < 1.0
    assert cap_excess(steady, "a", RATE_BPS) == pytest.approx(2.0 * 10 / 11.5)


def test_the_plateau_is_of_the_last_days_together() -> None:
    assert plateau(day_rows(two_days()), of=2) == pytest.approx((0.7, 0.4, 30.0))


def test_page_and_plot_show_every_day_and_every_broken_law() -> None:
    run = two_days()
    rows = day_rows(run)
    results = report.Results(
        "m", "2026-01-01", "c", {"seed": 1}, tuple(rows), (Law("the cap holds", False, "at most 2"),), (0.1, 0.2), 0.0
    )
    page = report.page(results)
    assert page.count("\n| 1 |") == page.count("\n| 2 |") == 1
    assert "| the cap holds | **no** | at most 2 |" in page
    assert report.plot(rows).count("<polyline") == 3
