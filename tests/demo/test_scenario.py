"""Titles, tastes and the evening are drawn, not chosen."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from demo.footage import CLIP_S, PARTS, VIDEO_LOOKS, orders
from demo.scenario import HOUR_S, NETWORKS, TITLES, daily_curve, evening, shares
from demo.story import boxes, topology


def test_there_are_at_least_six_titles_of_a_minute_or_more_and_all_differ() -> None:
    found = list(orders(len(TITLES)))
    assert len(TITLES) >= 6
    assert CLIP_S * PARTS >= 60
    assert len({tuple(order) for order in found}) == len(TITLES)
    assert all(0 <= index < len(VIDEO_LOOKS) for order in found for index in order)


def test_every_network_has_a_taste_for_every_title() -> None:
    for network in NETWORKS:
        assert sorted(network.taste) == sorted(title.id for title in TITLES)
        assert sum(shares(network.taste).values()) == pytest.approx(1.0)


def test_the_evening_follows_the_tastes() -> None:
    visits = evening(5000, 100.0, seed=1)
    for network in NETWORKS:
        counts = Counter(visit.title_id for visit in visits if visit.network is network)
        total = sum(counts.values())
        for title, share in shares(network.taste).items():
            assert counts[title] / total == pytest.approx(share, abs=0.04)
    assert [visit.at_s for visit in visits] == sorted(visit.at_s for visit in visits)


def test_a_day_of_the_curve_is_one_day_of_plays() -> None:
    assert sum(daily_curve(hour * HOUR_S) for hour in range(24)) == pytest.approx(1.0)


def test_the_comparison_has_the_same_boxes_in_networks_of_their_own() -> None:
    planned, compared = boxes("", 10**7, False), boxes("-x", 10**7, True)
    assert [spec.disk_bytes for spec in planned] == [spec.disk_bytes for spec in compared]
    assert {spec.address for spec in planned}.isdisjoint({spec.address for spec in compared})
    assert all(spec.cache_only for spec in compared)
    assert not any(spec.cache_only for spec in planned)


def test_the_demo_s_fill_windows_are_open_now() -> None:
    hour = time.gmtime().tm_hour
    for site in topology(Path("x")).sites:
        opens, closes = int(site.window_start[:2]), int(site.window_end[:2])
        assert (hour - opens) % 24 < (closes - opens) % 24
