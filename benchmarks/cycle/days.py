"""From samples and tallies to a row per day, and the laws that no day may break. Pure.

Inside is what the site's appliances gave without the border: 1 − (fetched from tier and origin because a player asked + read straight from the origin) /
delivered, as DESIGN §4 counts. Fills are counted apart: they cross the border in the window, at the cap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.cycle.catalogue import DAY_S
from benchmarks.cycle.viewers import Tally
from benchmarks.cycle.watching import BoxFigures, Ordered, Sample, SiteCounters
from contracts.reports import Source

OVER_S = 10.0
REPORTED_WITHIN_S = 1.5
"""Counters come with reports, a second apart and half a second behind a change: an interval may hold so much more time than it seems."""
CAP_SLACK = 1.05
OUTSIDE_SLACK = 1.01
NOTHING = SiteCounters()


class SiteDay(msgspec.Struct, frozen=True):
    """One site on one day. Shares are 0 to 1, amounts are bytes."""

    views: int
    delivered_bytes: int
    inside_share: float
    outside_bytes: int
    """Fetched from outside because a player asked, and read straight from the origin."""
    fill_bytes: dict[str, int]
    held_share: float
    """Of the disks, held at the end of the day."""
    orders: int = 0
    done: int = 0
    failed: int = 0
    open: int = 0
    ordered_unique_bytes: int = 0
    outside_per_unique: float | None = None
    """Bytes that fills fetched from outside / unique bytes ordered, both of the night; None when nothing was ordered."""


class Day(msgspec.Struct, frozen=True):
    """`ideal_share` is what an LRU without overhead would have served of the same views from the same disk."""

    day: int
    planned: SiteDay
    pulled: SiteDay
    ideal_share: float
    plans: int
    """Plans made on this day."""

    @property
    def gain(self) -> float:
        """Points of bytes inside over the live LRU."""
        return 100 * (self.planned.inside_share - self.pulled.inside_share)


class Law(msgspec.Struct, frozen=True):
    name: str
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Run:
    """All that the rows are made from."""

    days: int
    samples: Sequence[Sample]
    tallies: Mapping[str, Mapping[int, Tally]]
    """By site and day."""
    ordered: Mapping[tuple[int, str], Ordered]
    """By plan number and site."""
    ideal: Sequence[float]
    site_disk_bytes: int
    rate_bps: float
    """The planned site's cap, per second of the machine."""
    planned: str
    pulled: str


def day_rows(run: Run) -> list[Day]:
    return [
        Day(day, _site_day(run, run.planned, day), _site_day(run, run.pulled, day), run.ideal[day], plans_on(run, day))
        for day in range(run.days)
    ]


def _site_day(run: Run, site_id: str, day: int) -> SiteDay:
    before, after = _at(run.samples, day * DAY_S), _at(run.samples, (day + 1) * DAY_S)
    earlier, later = _counters(before, site_id), _counters(after, site_id)
    tally = run.tallies[site_id].get(day, Tally())
    outside = later.outside_for_clients - earlier.outside_for_clients + tally.direct_bytes
    boxes = _boxes(after, site_id)
    number = max((box.plan_number for box in boxes), default=0)
    ordered = run.ordered.get((number, site_id), Ordered(0, 0)) if plans_on(run, day) else Ordered(0, 0)
    filled_outside = later.outside_for_fills - earlier.outside_for_fills
    return SiteDay(
        views=tally.views,
        delivered_bytes=tally.delivered_bytes,
        inside_share=1 - outside / tally.delivered_bytes if tally.delivered_bytes else 0.0,
        outside_bytes=outside,
        fill_bytes={
            name: amount - earlier.fill_bytes.get(name, 0) for name, amount in later.fill_bytes.items() if amount
        },
        held_share=sum(box.held_bytes for box in boxes) / run.site_disk_bytes,
        orders=ordered.orders,
        done=sum(box.done for box in boxes) if ordered.orders else 0,
        failed=sum(box.failed for box in boxes) if ordered.orders else 0,
        open=sum(box.open for box in boxes) if ordered.orders else 0,
        ordered_unique_bytes=ordered.unique_bytes,
        outside_per_unique=filled_outside / ordered.unique_bytes if ordered.unique_bytes else None,
    )


def plans_on(run: Run, day: int) -> int:
    """How many plans were made between two midnights."""
    return len(
        {s.plan_number for s in run.samples if s.plan_number and day * DAY_S <= s.plan_made_at_s < (day + 1) * DAY_S}
    )


def laws(run: Run, rows: Sequence[Day]) -> list[Law]:
    """What must hold on every day; whether the gain is enough is read from the rows."""
    tallies = [tally for by_day in run.tallies.values() for tally in by_day.values()]
    wrong = sum(tally.wrong_blocks for tally in tallies)
    not_served = sum(tally.not_served for tally in tallies)
    planless = [row.day for row in rows if not row.plans]
    stuck = [(row.day, row.planned.open) for row in rows if row.planned.open]
    twice = [(row.day, share) for row in rows if (share := row.planned.outside_per_unique or 0.0) > OUTSIDE_SLACK]
    excess = cap_excess(run.samples, run.planned, run.rate_bps)
    foreign = sum(amount for row in rows for amount in row.pulled.fill_bytes.values())
    copies = sum(ordered.copies for (_, site_id), ordered in run.ordered.items() if site_id == run.planned)
    near = sum(row.planned.fill_bytes.get(Source.PEER.value, 0) for row in rows)
    return [
        Law("every block is what was published", wrong == 0, f"{wrong} wrong blocks"),
        Law("every range was served", not_served == 0, f"{not_served} ranges not served"),
        Law("a plan was made every night", not planless, f"days without one: {planless or 'none'}"),
        Law("orders end with the window", not stuck, f"days with open orders: {stuck or 'none'}"),
        Law("fills fetch each byte once from outside", not twice, f"nights beyond {OUTSIDE_SLACK}: {twice or 'none'}"),
        Law(
            "neighbours fill each other",
            near > 0 or not copies,
            f"{near} bytes from a neighbour, {copies} orders of files that one has or gets too",
        ),
        Law("the cap holds", excess <= CAP_SLACK, f"at most {excess:.2f} of the cap over {OVER_S:g} s"),
        Law("the other site is not filled", foreign == 0, f"{foreign} bytes"),
    ]


def cap_excess(samples: Sequence[Sample], site_id: str, rate_bps: float) -> float:
    """The largest rate of fills from outside and near over about `OVER_S` / the cap."""
    worst, first = 0.0, 0
    for last, sample in enumerate(samples):
        while sample.machine_s - samples[first + 1].machine_s >= OVER_S if first + 1 < last else False:
            first += 1
        took_s = sample.machine_s - samples[first].machine_s
        if took_s < OVER_S:
            continue
        moved = _filled(sample, site_id) - _filled(samples[first], site_id)
        worst = max(worst, moved * 8 / ((took_s + REPORTED_WITHIN_S) * rate_bps))
    return worst


def plateau(rows: Sequence[Day], of: int = 3) -> tuple[float, float, float]:
    """(inside share with the plan, with LRU alone, gain in points) over the last days together."""
    last = rows[-of:]
    shares = [
        1 - sum(day.outside_bytes for day in site) / max(1, sum(day.delivered_bytes for day in site))
        for site in ([row.planned for row in last], [row.pulled for row in last])
    ]
    return shares[0], shares[1], 100 * (shares[0] - shares[1])


def _filled(sample: Sample, site_id: str) -> int:
    return sum(_counters(sample, site_id).fill_bytes.values())


def _at(samples: Sequence[Sample], at_s: float) -> Sample:
    """The last sample not after an instant; the first one when there is none."""
    return next((sample for sample in reversed(samples) if sample.at_s <= at_s), samples[0])


def _counters(sample: Sample, site_id: str) -> SiteCounters:
    return sample.sites.get(site_id, NOTHING)


def _boxes(sample: Sample, site_id: str) -> list[BoxFigures]:
    return [box for box in sample.boxes.values() if box.site_id == site_id]
