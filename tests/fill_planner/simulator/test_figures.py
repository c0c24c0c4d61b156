"""Figures and their intervals, changes that operators ask about, and plots that are SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fill_planner.simulator.figures import figures_of, interval
from fill_planner.simulator.plot import axis_of, lines
from fill_planner.simulator.replay import Course
from fill_planner.simulator.scenario import Scenario, SiteSpec
from fill_planner.simulator.whatif import CHANGES, changed


def course(inside: list[float], content: list[float], filled: list[float]) -> Course:
    hours = len(inside)
    outside = np.zeros((hours, 3))
    outside[:, 0] = content
    return Course(np.array(inside), outside, np.array(filled), np.zeros(hours), np.ones(hours, dtype=np.int64))


def test_the_interval_is_students_t_over_the_seeds() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.half == pytest.approx(2.776 * (2.5**0.5) / 5**0.5)
    assert interval([7.0]).half is None
    assert interval([7.0]).words() == "7.0"
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_figures_leave_the_warm_up_out_and_peaks_are_each_sites_own() -> None:
    a = course([0.0, 8.0, 2.0], [99.0, 2.0, 0.0], [0.0, 0.0, 1.0])
    b = course([0.0, 1.0, 1.0], [0.0, 0.0, 6.0], [0.0, 0.0, 0.0])
    found = figures_of([a, b], 1)
    assert found.demand_bytes == 20.0
    assert found.inside_share == pytest.approx(12 / 20)
    assert found.content_share == pytest.approx(8 / 20)
    assert (found.filled_bytes, found.fetched_bytes, found.replaced) == (1.0, 9.0, 4.0)
    assert found.peak_upstream_bps == pytest.approx((2.0 + 6.0) * 8 / 3600)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("disk=40TB", "disk", "40TB"),
        ("boxes=3", "boxes", 3),
        ("window=4h", "window_hours", 4),
        ("rate=2Gbps", "fill_gbps", 2.0),
        ("volume=6.5TB", "fill_tb", 6.5),
        ("cache=20%", "cache_share", 0.2),
    ],
)
def test_a_change_changes_one_thing_at_every_site_or_at_one(words: str, field: str, value: object) -> None:
    before = Scenario(sites=(SiteSpec(name="a"), SiteSpec(name="b")))
    everywhere, at_b = changed(before, words), changed(before, f"b.{words}")
    assert [getattr(site, field) for site in everywhere.sites] == [value, value]
    assert [getattr(site, field) for site in at_b.sites] == [getattr(before.sites[0], field), value]


@pytest.mark.parametrize(
    "words",
    [
        "disk",
        "colour=red",
        "boxes=many",
        "boxes=0",
        "disk=large",
        "c.disk=1TB",
        "rate=0",
        "rate=infGbps",
        "window=25h",
        "volume=10%",
    ],
)
def test_a_change_that_is_none_is_named(words: str) -> None:
    with pytest.raises(ValueError, match=words.partition("=")[0].rpartition(".")[2]):
        changed(Scenario(sites=(SiteSpec(name="a"),)), words)
    assert set(CHANGES) == {"disk", "boxes", "window", "rate", "volume", "cache"}


def test_a_plot_is_svg_with_every_curve_and_its_name() -> None:
    x, y = axis_of("day", [0.0, 10.0]), axis_of("share", [0.0, 1.0], percent=True)
    root = ET.fromstring(lines("a < b", x, y, {"lru": [(0, 0.5), (10, 1.0)], "plan & lru": [(0, 0.2)]}))
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}polyline")) == 2
    texts = [text.text for text in root.findall(f"{name}text")]
    assert {"a < b", "plan & lru", "100%", "10"} <= set(texts)
