"""The generated catalogue and its viewers: shares, dates, sizes, bytes, and the same again from the same seed."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.cycle.catalogue import (
    LARGEST_BYTES,
    SMALLEST_BYTES,
    Demand,
    Entry,
    Shape,
    digests_of,
    make_catalogue,
    ranges_of,
    titles_of,
)
from benchmarks.cycle.standard import IdealLru, inside_by_day
from contracts.digests import BLOCK_BYTES, block_digest

SHAPE = Shape(files=300, days=3, views_a_day=4000)
BEGAN = 1_767_225_600.0


@cache
def entries() -> tuple[Entry, ...]:
    return make_catalogue(SHAPE)


@cache
def demand() -> Demand:
    return Demand(SHAPE, entries())


@pytest.mark.parametrize("day", range(SHAPE.days))
def test_releases_of_the_week_carry_their_share_on_every_day(day: int) -> None:
    shares = demand().shares(day)
    fresh = sum(share for entry, share in zip(entries(), shares, strict=True) if day - 7 < entry.out_on <= day)
    assert shares.sum() == pytest.approx(1.0)
    assert fresh == pytest.approx(SHAPE.release_share)


@pytest.mark.parametrize("day", range(SHAPE.days))
def test_nobody_views_a_title_before_its_date(day: int) -> None:
    views = demand().views(day)
    assert len(views) > SHAPE.views_a_day / 2
    assert all(entries()[view.entry].out_on <= day for view in views)
    assert all(day * 86_400.0 <= view.at_s < (day + 1) * 86_400.0 for view in views)
    assert views == sorted(views, key=lambda view: view.at_s)


def test_the_evening_has_many_times_the_views_of_the_early_morning() -> None:
    hours = np.bincount([int(view.at_s // 3600) for view in demand().views(0)], minlength=24)
    assert hours[20] > 5 * max(1, hours[4])


def test_releases_come_out_after_the_run_has_ended_too_so_that_the_last_night_has_something_to_fill() -> None:
    assert {entry.out_on for entry in entries() if entry.is_release} == set(range(-6, SHAPE.days + 2))


def test_the_same_seed_makes_the_same_catalogue_and_views_and_another_makes_others() -> None:
    assert make_catalogue(SHAPE) == entries()
    assert Demand(SHAPE, entries()).views(1) == demand().views(1)
    other = Shape(files=300, days=3, views_a_day=4000, seed=2)
    assert Demand(other, make_catalogue(other)).views(1) != demand().views(1)


def test_sizes_lie_within_their_bounds_and_near_the_wanted_mean() -> None:
    sizes = [entry.size_bytes for entry in entries()]
    assert min(sizes) >= SMALLEST_BYTES
    assert max(sizes) <= LARGEST_BYTES
    assert sum(sizes) / len(sizes) == pytest.approx(SHAPE.mean_bytes, rel=0.15)


def test_any_part_of_a_file_is_made_alone_and_is_what_its_digests_say() -> None:
    entry = next(entry for entry in entries() if entry.size_bytes > 3 * BLOCK_BYTES)
    whole, digests = entry.content(), digests_of(entry)
    assert len(whole) == digests.size_bytes == entry.size_bytes
    assert entry.content(BLOCK_BYTES, 2 * BLOCK_BYTES - 1) == whole[BLOCK_BYTES : 2 * BLOCK_BYTES]
    assert block_digest(entry.content(BLOCK_BYTES, 2 * BLOCK_BYTES - 1)) == digests.block(1)


def test_a_views_ranges_are_whole_blocks_and_cover_the_file_once() -> None:
    for entry in entries():
        ranges = ranges_of(entry)
        assert ranges[0][0] == 0
        assert ranges[-1][1] == entry.size_bytes - 1
        assert all(first % BLOCK_BYTES == 0 for first, _ in ranges)
        assert all(earlier[1] + 1 == later[0] for earlier, later in pairwise(ranges))


def test_a_release_is_known_ahead_and_may_not_be_shown_before_its_date() -> None:
    few = [entry for entry in entries() if entry.out_on == 2.0] + list(entries()[:8])
    digests = {entry.number: digests_of(entry) for entry in few}
    by_number = [digests.get(entry.number) or digests_of(few[0]) for entry in entries()]
    titles = titles_of(few, by_number, BEGAN)
    releases = [title for title in titles if title.facts.id.startswith("new-")]
    assert releases
    for title in releases:
        assert title.published_at == title.facts.licence.starts_at == BEGAN + 2 * 86_400.0
        assert not title.facts.licence.allows("DE", BEGAN + 86_400.0)
    assert all(title.facts.licence.allows("DE", BEGAN) for title in titles if title not in releases)


def test_the_ideal_lru_forgets_what_was_used_longest_ago() -> None:
    cache_ = IdealLru(20)
    assert [cache_.serve(entry, 10) for entry in (1, 2, 1, 3, 1, 2)] == [False, False, True, False, True, False]


def test_the_ideal_lru_never_keeps_what_is_larger_than_its_disk() -> None:
    cache_ = IdealLru(20)
    assert not cache_.serve(1, 10)
    assert [cache_.serve(2, 21), cache_.serve(2, 21), cache_.serve(1, 10)] == [False, False, True]


def test_the_ideal_share_of_a_day_is_of_its_bytes_and_goes_on_from_day_to_day() -> None:
    assert inside_by_day([[0, 1], [0, 0, 2]], [10, 30, 20], 60) == [0.0, 0.5]
