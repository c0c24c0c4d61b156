"""Whose demand stands for a site's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.places import PopularityKind, PopularitySource, Site
from fill_planner.mixing import mixed
from fill_planner.snapshot import HourlySeries

OWN = {"x": HourlySeries((3600, 7200), (60, 40))}
OTHER = {"x": HourlySeries((3600,), (100,)), "y": HourlySeries((7200,), (800,))}
FEEDS = {"chart": {"z": HourlySeries((3600,), (5,))}}


def of(*sources: PopularitySource) -> Site:
    return Site("a", "a", "isp", "CH", popularity=sources)


def source(kind: str, weight: float = 1.0, feed: str = "") -> PopularitySource:
    return PopularitySource(PopularityKind(kind), weight, feed)


def test_a_site_that_names_nothing_goes_by_its_own_traffic() -> None:
    assert mixed(of(), OWN, [OWN, OTHER], FEEDS) == OWN


def test_the_region_says_what_is_watched_and_the_site_how_much() -> None:
    found = mixed(of(source("region")), OWN, [OWN, OTHER], FEEDS)
    assert found == {"x": HourlySeries((3600, 7200), (16, 4)), "y": HourlySeries((7200,), (80,))}


def test_weights_count_among_themselves() -> None:
    half = mixed(of(source("own", 1.0), source("feed", 1.0, "chart")), OWN, [OWN], FEEDS)
    assert half == {"x": HourlySeries((3600, 7200), (30, 20)), "z": HourlySeries((3600,), (50,))}
    assert half == mixed(of(source("own", 7.0), source("feed", 7.0, "chart")), OWN, [OWN], FEEDS)


def test_a_site_without_traffic_has_the_volume_of_an_average_site_of_its_region() -> None:
    found = mixed(of(source("feed", 1.0, "chart")), {}, [{}, OWN, OTHER], FEEDS)
    assert found == {"z": HourlySeries((3600,), (500,))}
    alone = mixed(of(source("feed", 1.0, "chart")), {}, [{}], FEEDS)
    assert alone == {"z": HourlySeries((3600,), (5,))}


def test_a_source_that_knows_nothing_takes_no_weight_from_the_others() -> None:
    assert mixed(of(source("own"), source("feed", 9.0, "missing")), OWN, [OWN], FEEDS) == OWN
    assert mixed(of(source("feed", 1.0, "missing")), OWN, [OWN], FEEDS) == {}


SERIES = st.dictionaries(
    st.sampled_from("xyz"),
    st.integers(1, 10**9).map(lambda amount: HourlySeries((3600,), (amount,))),
    max_size=3,
)


@given(SERIES.filter(bool), SERIES, SERIES.filter(bool), st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_volume_stays_the_sites_own(
    own: dict[str, HourlySeries], other: dict[str, HourlySeries], feed: dict[str, HourlySeries], one: float, two: float
) -> None:
    site = of(source("own", one), source("region", two), source("feed", 1.0, "f"))
    found = mixed(site, own, [own, other], {"f": feed})
    total = sum(series.served_bytes[0] for series in own.values())
    assert sum(series.served_bytes[0] for series in found.values()) == pytest.approx(total, abs=3)
