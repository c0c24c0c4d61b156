"""The nightly report as a page: every word of the record is escaped, its plots are true, and a browser shows it without scripts or network."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.database import Database
from contracts.nightly import FailedOrders, FileChange, ForecastPoint, NightlyReport, SourceHour
from contracts.reports import Purpose, Source
from control_plane import records
from control_plane.app import DATABASE
from control_plane.archive import nightly as nightly_archive
from control_plane.nightly_facts import day_of
from control_plane.nightly_page import page
from control_plane.plots import INNER_H, Band, Layer, nice_ticks, scatter, size_words, stacked_bars
from tests.browser.chromium import js, open_tab, unexpected
from tests.control_plane.plane import Plane

CLOSES = 1_767_362_400.0
"""2026-01-02T14:00:00Z."""
HOUR = 3600


def night(**changes: object) -> NightlyReport:
    """A night with a curve: viewers in the evening, fills from 02:00 to 14:00."""
    hours = []
    for back in range(24):
        hour = int(CLOSES) - (back + 1) * HOUR
        viewers = 2.0e11 * (1.2 + math.sin((hour / HOUR - 14) / 24 * 2 * math.pi))
        hours.append(SourceHour(hour, Source.HIT, Purpose.CLIENT, 40_000, int(viewers * 0.93)))
        hours.append(SourceHour(hour, Source.PEER, Purpose.CLIENT, 900, int(viewers * 0.03)))
        hours.append(SourceHour(hour, Source.ORIGIN, Purpose.CLIENT, 1_000, int(viewers * 0.04)))
        if back < 12:
            hours.append(SourceHour(hour, Source.PEER, Purpose.FILL, 300, int(1.1e11)))
            hours.append(SourceHour(hour, Source.TIER, Purpose.FILL, 120, int(0.9e11)))
            hours.append(SourceHour(hour, Source.ORIGIN, Purpose.FILL, 90, int(2.4e11 * (1 - back / 14))))
    points = tuple(
        ForecastPoint(f"vod|/media/title-{n:03}/hd/v-1080.mp4", 9e10 / n, int(9e10 / n * (0.5 + (n * 7 % 13) / 10)))
        for n in range(1, 300)
    )
    files = tuple(
        FileChange(f"vod|/media/a-film-with-a-long-name-{n}/hd/v-1080.mp4", 4_500_000_000 + n, 3e10 / n, 10**9 * n)
        for n in range(1, 9)
    )
    values: dict[str, object] = {
        "site_id": "harbour",
        "site_name": "Harbour <north> & quay",
        "day": "2026-01-02",
        "timezone": "Europe/Berlin",
        "opens_at": CLOSES - 12 * HOUR,
        "closes_at": CLOSES,
        "made_at": CLOSES + 60,
        "plan_number": 412,
        "plan_cause": "nightly",
        "hours": tuple(hours),
        "rate_bps": 1_200_000_000,
        "volume_bytes": 6_500_000_000_000,
        "inside_share": 0.96,
        "expected_inside_share": 0.948,
        "missed_requests": 45_600,
        "client_requests": 1_005_600,
        "orders": 1_840,
        "orders_done": 1_831,
        "orders_failed": 9,
        "failures": (
            FailedOrders("no-space", 6, ("harbour-2: vod|/media/<script>alert(1)</script>/hd/v.mp4",)),
            FailedOrders("sources-failed", 3, ("harbour-1: vod|/media/x/hd/v.mp4 (connection refused)",)),
        ),
        "gained": files,
        "gained_files": 311,
        "lost": files[:3],
        "lost_files": 3,
        "forecast_plan_number": 411,
        "forecast_bytes": 4.1e12,
        "forecast_served_bytes": 4_300_000_000_000,
        "forecast_error": 0.27,
        "points": points,
        **changes,
    }
    return NightlyReport(**values)  # type: ignore[arg-type]


EMPTY = night(
    hours=(), inside_share=None, expected_inside_share=None, failures=(), gained=(), gained_files=0, lost=(), lost_files=0,
    points=(), forecast_plan_number=0, forecast_bytes=0.0, forecast_served_bytes=0, forecast_error=None, plan_number=0,
    plan_cause="", orders=0, orders_done=0, orders_failed=0,
)  # fmt: skip


def test_what_others_wrote_stays_text() -> None:
    text = page(night())
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "Harbour &lt;north&gt; &amp; quay" in text


def test_the_page_asks_nobody_for_anything() -> None:
    for one in (night(), EMPTY):
        text = page(one)
        assert not re.search(r"\b(?:src|href|url|@import|action)\b\s*[=(]", text)
        assert "<script" not in text


def test_a_night_about_which_nothing_is_known_has_a_page_too() -> None:
    text = page(EMPTY)
    assert "no plan" in text
    assert text.count("None.") == 3
    assert "No plan was made for the day" in text


def test_every_plot_is_well_formed_and_says_in_words_what_it_shows() -> None:
    for one in (night(), EMPTY):
        plots = re.findall(r"<svg.*?</svg>", page(one), re.DOTALL)
        assert len(plots) == (3 if one.points else 2)
        for plot in plots:
            tree = ElementTree.fromstring(plot)
            assert tree.attrib["role"] == "img"
            title = tree.find("title")
            assert title is not None
            assert title.text


@given(
    st.lists(st.tuples(st.floats(0, 1e15), st.floats(0, 1e15)), min_size=1, max_size=24),
    st.one_of(st.none(), st.floats(1, 1e15)),
)
def test_bars_are_as_high_as_their_values_and_stay_inside(
    values: list[tuple[float, float]], limit: float | None
) -> None:
    layers = [Layer("one", "red", [a for a, _ in values]), Layer("two", "blue", [b for _, b in values])]
    plot = stacked_bars("t", ["x"] * len(values), layers, band=Band(0.0, 1.0), limit=limit, limit_name="cap")
    top = nice_ticks(max([*(a + b for a, b in values), limit or 0.0]))[-1]
    rects = [r for r in ElementTree.fromstring(plot).iter("rect") if "style" in r.attrib]
    heights = sum(float(r.attrib["height"]) for r in rects)
    assert heights == pytest.approx(sum(a + b for a, b in values) / top * INNER_H, abs=0.06 * len(rects) + 1e-6)
    assert all(float(r.attrib["y"]) >= 13.9 for r in rects)


@given(st.floats(0, 1e18))
def test_ticks_are_round_begin_at_nothing_and_reach_the_largest(largest: float) -> None:
    ticks = nice_ticks(largest)
    assert ticks[0] == 0
    assert ticks[-1] >= largest * (1 - 1e-9)
    assert 2 <= len(ticks) <= 7


@given(st.lists(st.tuples(st.floats(0, 1e16), st.floats(0, 1e16), st.text(max_size=5)), max_size=30))
def test_every_file_is_a_dot_inside_the_axes(points: list[tuple[float, float, str]]) -> None:
    printable = [(x, y, "".join(c for c in name if c.isprintable())) for x, y, name in points]
    dots = list(ElementTree.fromstring(scatter("t", printable, "x", "y")).iter("circle"))
    assert len(dots) == len(points)
    assert all(72 <= float(dot.attrib["cx"]) <= 628 and 14 <= float(dot.attrib["cy"]) <= 206 for dot in dots)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (999.7, "1 kB"), (1_500, "1.5 kB"), (2.5e12, "2.5 TB"), (3e18, "3e+03 PB")],
)
def test_sizes_on_an_axis_have_three_digits(count: float, words: str) -> None:
    assert size_words(count) == words


def test_a_day_is_the_date_at_the_site() -> None:
    late = 1_767_312_000.0  # 2026-01-02T00:00Z
    assert day_of(late, "Europe/Berlin") == "2026-01-02"
    assert day_of(late, "America/New_York") == "2026-01-01"


async def stored(plane: Plane, one: NightlyReport) -> None:
    """Puts a report where the control plane keeps them."""
    path = plane.settings.state_dir / DATABASE
    async with (
        Database.open(path, records.metadata, schema_version=records.SCHEMA_VERSION) as database,
        database.write() as session,
    ):
        await nightly_archive.put(session, one)


async def test_the_page_is_behind_the_operators_token_and_may_load_nothing(plane: Plane) -> None:
    await plane.add_site("harbour")
    await stored(plane, night())
    address = f"{plane.urls['http']}/v1/reports/nightly/harbour/2026-01-02/page"
    async with httpx.AsyncClient() as client:
        assert (await client.get(address)).status_code == 401
        answer = await client.get(address, headers={"Authorization": f"Bearer {plane.token}"})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        missing = await client.get(
            address.replace("2026-01-02", "2020-01-01"), headers={"Authorization": f"Bearer {plane.token}"}
        )
        assert missing.status_code == 404
    found = await plane.operator.get("/v1/reports/nightly/harbour/latest", NightlyReport)
    assert found == night()


@pytest.mark.system
async def test_a_browser_shows_the_report_by_day_by_night_on_a_telephone_and_from_the_operator_page(
    plane: Plane, tmp_path: Path
) -> None:
    await plane.add_site("harbour")
    await plane.add_site("quiet")
    await stored(plane, night())
    file = tmp_path / "night.html"
    file.write_text(page(night()), encoding="utf-8")
    async with open_tab(tmp_path / "profile", size=(1360, 1600)) as tab:
        await tab.command("Emulation.setScriptExecutionDisabled", value=True)
        await tab.command("Page.navigate", url=file.as_uri())
        await tab.command("Emulation.setScriptExecutionDisabled", value=False)
        await tab.until("document.querySelectorAll('svg').length === 3")
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        for width in (1360, 390):
            await tab.command(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
            )
            scroll, client = await tab.value(widths)
            assert scroll <= client, f"the page is wider than a screen of {width}"
        await tab.command("Emulation.clearDeviceMetricsOverride")
        colours = []
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await tab.command("Emulation.setEmulatedMedia", features=features)
            colours.append(await tab.value("getComputedStyle(document.body).backgroundColor"))
        assert colours[0] != colours[1]
        await tab.command("Emulation.setEmulatedMedia", features=[])
        await tab.pictures(tmp_path, "report", whole=True)
        await tab.open(f"{plane.urls['http']}/#token={plane.token}")
        await tab.until("[...document.querySelectorAll('article')].length === 2")
        opened = (
            "[...document.querySelectorAll('article')].find(one => one.innerText.includes({})).querySelector('button')"
        )
        await tab.value("window.open = (address) => { window.opened = address; }")
        await tab.value(opened.format(js("QUIET")) + ".click()")
        await tab.until("document.body.innerText.includes('after the next fill window')")
        await tab.value(opened.format(js("HARBOUR")) + ".click()")
        await tab.until("window.opened && window.opened.startsWith('blob:')")
        await tab.value("location.href = window.opened")
        await tab.until("document.querySelectorAll('svg').length === 3")
        assert await tab.value("document.title") == "Harbour <north> & quay, night of 2026-01-02"
        assert unexpected(tab.errors, "404") == []
