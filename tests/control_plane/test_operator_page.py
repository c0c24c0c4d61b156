"""The operator page: its files are all there and come from nowhere else; in a browser it shows the record as it changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from contracts.overview import FileList, ImportAnswer
from contracts.plans import PlanSummary
from contracts.reports import FileTraffic, Purpose, ReportAnswer, Source, SourceTraffic, TrafficImport
from tests.browser.chromium import open_tab, unexpected
from tests.control_plane.plane import ORIGIN, Plane, report, title

WEB = Path(__file__).parents[2] / "web"


async def test_the_page_and_everything_it_names_is_served_without_a_token_and_from_here_alone(plane: Plane) -> None:
    async with httpx.AsyncClient(base_url=plane.urls["http"]) as client:
        page = await client.get("/")
        assert page.headers["Content-Type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        wanted = set(re.findall(r'(?:href|src)="([^"]+)"', page.text))
        assert all(path.startswith("/web/") for path in wanted)
        seen: dict[str, str] = {}
        while wanted - set(seen):
            path = min(wanted - set(seen))
            answer = await client.get(path)
            assert answer.status_code == 200, path
            seen[path] = answer.headers["Content-Type"]
            for name in re.findall(r'^import[^;]*? from "(\.[^"]+)";', answer.text, re.MULTILINE):
                wanted.add(str(httpx.URL(f"http://x{path}").join(name).path))
    kinds = {path.rpartition(".")[2]: kind.partition(";")[0] for path, kind in seen.items()}
    assert kinds == {"css": "text/css", "js": "text/javascript", "mjs": "text/javascript", "svg": "image/svg+xml"}
    assert len(seen) >= 10


def test_vendored_files_are_those_of_the_manifest_each_package_with_its_licence() -> None:
    done = subprocess.run(
        [sys.executable, str(WEB / "vendor" / "fetch"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((WEB / "vendor" / "manifest.json").read_text())
    assert all(row["licence"] and row["version"] for row in rows)
    names = {row["name"] for row in rows}
    assert {row["name"] for row in rows if "licen" in row["file"].lower()} == names


@pytest.mark.system
async def test_a_browser_shows_sites_appliances_shares_and_explanations_as_they_change(
    plane: Plane, tmp_path: Path
) -> None:
    await plane.add_site("a")
    box = await plane.add_box("a1")
    await box.post("/v1/appliance/report", report(1, holdings_full=True), ReportAnswer)
    origin = await plane.service_caller("origin")
    await origin.put("/v1/origin", ORIGIN)
    await origin.put("/v1/titles/sea", title())
    key = (await plane.operator.get("/v1/files", FileList)).files[0].key
    hour = int(time.time()) // 3600 * 3600
    rows = tuple(FileTraffic(key, hour - back * 3600, 1, 1000) for back in range(1, 50))
    await plane.operator.post("/v1/sites/a/traffic", TrafficImport(rows), ImportAnswer)
    await plane.operator.post("/v1/plans", None, PlanSummary)

    async with open_tab(tmp_path / "profile", size=(1360, 1600)) as page:
        await page.open(plane.urls["http"] + "/")
        await page.until("document.querySelector('input[type=password]') !== null")
        await page.value("document.querySelector('#token').value = 'wrong'")
        await page.value("document.querySelector('form').requestSubmit()")
        await page.until("document.body.innerText.includes('not accepted')")
        await page.value(f"location.hash = 'token={plane.token}'")
        await page.until("document.querySelectorAll('tbody tr').length > 1")
        assert await page.value("location.hash") == ""
        text = await page.value("document.body.innerText")
        for words in ("a1", "suspect", "isp-a", "2 orders", "1 titles, 2 files"):
            assert words in text
        sources = tuple(
            SourceTraffic(source, Purpose.CLIENT, 1, amount)
            for source, amount in ((Source.HIT, 600), (Source.PEER, 300), (Source.ORIGIN, 100))
        )
        await box.post("/v1/appliance/report", report(2, sources=sources), ReportAnswer)
        await page.until("document.querySelector('.figures dd').innerText === '90.0 %'")
        await page.value(
            "(() => { const box = document.querySelector('input[type=search]'); box.value = 'sea';"
            " box.dispatchEvent(new Event('input')); })()"
        )
        await page.until("document.querySelectorAll('.files button').length === 2")
        await page.value("document.querySelector('.files button').click()")
        await page.until("document.querySelectorAll('.facts').length === 1")
        assert unexpected(page.errors, "401") == []


REFUSING = """
  (() => {
    const fetched = window.fetch;
    window.asked = 0;
    window.fetch = (url, ...more) => {
      if (String(url).includes("/v1/overview")) window.asked += 1;
      if (!/v1\\/(plays|misses|routes)/.test(url)) return fetched(url, ...more);
      return Promise.resolve(new Response(JSON.stringify({ detail: "the log cannot be read" }), { status: 503 }));
    };
  })()
"""


@pytest.mark.system
async def test_a_refusal_stays_on_its_page_in_the_place_of_what_was_there(plane: Plane, tmp_path: Path) -> None:
    await plane.add_site("a")
    async with open_tab(tmp_path / "profile") as page:
        await page.open(f"{plane.urls['http']}/#token={plane.token}")
        for name, shown in (("plays", "[role=status]"), ("misses", ".faint"), ("routes", ".choice")):
            await page.value(f"location.hash = '#/{name}'")
            await page.until(f"document.querySelector('main section {shown}') !== null")
        await page.value(REFUSING)
        ask = "document.querySelector('main form')?.requestSubmit()"
        choose = "document.querySelector('main select[name=hours]')?.dispatchEvent(new Event('change'))"
        for name, act in (("plays", ask), ("misses", choose), ("routes", ask)):
            await page.value(f"location.hash = '#/{name}'")
            await page.until(f"document.querySelector('nav [aria-current]').hash === '#/{name}'")
            await page.value(act)
            await page.until("document.querySelector('main [role=alert]')?.innerText === 'the log cannot be read'")
            await page.value("window.asked = 0")
            await page.until("window.asked >= 3")
            assert (
                await page.value("document.querySelector('main [role=alert]')?.innerText") == "the log cannot be read"
            )
            assert await page.value("document.querySelectorAll('main table').length") == 0
        assert unexpected(page.errors) == []
