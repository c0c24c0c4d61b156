"""`python -m benchmarks.cycle`: lives through the days, prints each as it ends, writes what came out; exit 1 when a law was broken."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.cycle import report
from benchmarks.cycle.catalogue import DAY_S, Demand, Shape, View, catalogue_bytes, make_catalogue
from benchmarks.cycle.days import Day, Run, day_rows, laws
from benchmarks.cycle.standard import inside_by_day
from benchmarks.cycle.town import PLANNED, PULLED, Setting, Town, open_town
from benchmarks.cycle.viewers import Viewers
from benchmarks.cycle.watching import Watch, ordered_of

TARGET = Path(__file__).parents[1] / "plan"
WORLD = ("days", "day_s", "files", "views", "seed")
"""Arguments that make another run of it."""
LAST_REPORTS_S = 4.0
QUIET_S = 20.0
"""Of the machine, that views which are under way at the end are waited for."""


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def live_through(town: Town, demand: Demand, days: int, shown: bool = True) -> tuple[Run, list[Viewers]]:
    """All views of all days, each at its time. Returns when the last one ended and was reported."""
    shape_views = [demand.views(day) for day in range(days)]
    viewers = {site: Viewers(town, site) for site in (PLANNED, PULLED)}
    watch = Watch(town)
    watching = asyncio.create_task(watch.run())
    try:
        for day, views in enumerate(shape_views):
            await _one_day(town, viewers, day, views)
            if shown:
                say(report.table(day_rows(_run(town, watch, viewers, shape_views, day + 1))[-1:]).splitlines()[-1])
        await asyncio.sleep(LAST_REPORTS_S)
        await watch.look()
    finally:
        watching.cancel()
        await asyncio.gather(watching, *(one.close() for one in viewers.values()), return_exceptions=True)
    return _run(town, watch, viewers, shape_views, days), list(viewers.values())


async def _one_day(town: Town, viewers: dict[str, Viewers], day: int, views: list[View]) -> None:
    """Starts each view when the calendar says so; returns at midnight, when all have ended."""
    under_way: set[asyncio.Task[None]] = set()
    for view in views:
        due = town.lab.reached(town.lab.starts_at + view.at_s)
        wait_s = due - time.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        for one in viewers.values():
            task = asyncio.create_task(one.watch(view, day, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    midnight = town.lab.reached(town.lab.starts_at + (day + 1) * DAY_S)
    await asyncio.sleep(max(0.0, midnight - time.time()))
    if under_way:
        _, late = await asyncio.wait(under_way, timeout=QUIET_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _run(town: Town, watch: Watch, viewers: dict[str, Viewers], views: list[list[View]], days: int) -> Run:
    site_disk_bytes = town.disk_bytes * len(town.setting.planned)
    asked = [[view.entry for view in day] for day in views]
    return Run(
        days=days,
        samples=watch.samples,
        tallies={site: one.by_day for site, one in viewers.items()},
        ordered={place: ordered_of(plans) for place, plans in watch.ordered.items()},
        ideal=inside_by_day(asked, [entry.size_bytes for entry in town.entries], site_disk_bytes),
        site_disk_bytes=site_disk_bytes,
        rate_bps=town.rate_bps * town.setting.speed,
        planned=PLANNED,
        pulled=PULLED,
    )


async def run(given: argparse.Namespace, folder: Path) -> int:
    """The exit code."""
    shape = Shape(files=given.files, days=given.days, views_a_day=given.views, seed=given.seed)
    setting = Setting(day_s=given.day_s)
    entries = make_catalogue(shape)
    size = catalogue_bytes(entries)
    say(f"{len(entries)} files, {size / 1e6:.0f} MB; disks of {setting.disk_share * size / 1e6:.0f} MB per site")
    load = os.getloadavg()[0]
    async with open_town(folder, setting, entries) as town:
        say(report.table([]))
        found, viewers = await live_through(town, Demand(shape, entries), shape.days)
    rows = day_rows(found)
    results = report.Results(
        machine=f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}",
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=given.command,
        setting={
            "files": len(entries),
            "catalogue MB": round(size / 1e6),
            "disk of a site MB": round(found.site_disk_bytes / 1e6),
            "views a day and site": shape.views_a_day,
            "seconds a day": setting.day_s,
            "share of bytes on the week's releases": shape.release_share,
            "share of an appliance's disk without pins": setting.cache_share,
            "share of a site's disk for second copies": setting.second_copy_share,
            "window": "-".join(setting.window),
            "seed": shape.seed,
        },
        days=tuple(rows),
        laws=tuple(laws(found, rows)),
        load_1m=(load, os.getloadavg()[0]),
        late_s=max((tally.late_s for one in viewers for tally in one.by_day.values()), default=0.0),
        complaints=tuple(words for one in viewers for words in one.complaints[:20]),
    )
    _write(given.target, results, rows)
    for law in results.laws:
        say(f"{'holds ' if law.holds else 'BROKEN'}  {law.name}: {law.words}")
    for words in results.complaints[:10]:
        say(f"        {words}")
    return 0 if all(law.holds for law in results.laws) else 1


def _write(target: Path, results: report.Results, rows: list[Day]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    (target / "cycle.json").write_bytes(report.encode(results))
    (target / "CYCLE.md").write_text(report.page(results), encoding="utf-8")
    (target / "cycle.svg").write_text(report.plot(rows), encoding="utf-8")


def main(argv: list[str]) -> int:
    shape, setting = Shape(), Setting()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle", description=__doc__)
    parser.add_argument("--days", type=int, default=shape.days)
    parser.add_argument("--day-s", type=float, default=setting.day_s, help="seconds of the machine per day")
    parser.add_argument("--files", type=int, default=shape.files, help="old files; releases come besides")
    parser.add_argument("--views", type=int, default=shape.views_a_day, help="views of whole files a day at each site")
    parser.add_argument("--seed", type=int, default=shape.seed)
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the results")
    parser.add_argument("--keep", type=Path, help="folder of the processes' state and logs; without it they go")
    given = parser.parse_args(argv)
    # Folders say nothing of the run, and are those of one machine.
    changed = [
        f"--{name.replace('_', '-')}={value:g}"
        for name, value in vars(given).items()
        if name in WORLD and value != parser.get_default(name)
    ]
    given.command = " ".join(["python -m benchmarks.cycle", *changed])
    with suppress(KeyboardInterrupt):
        if given.keep is not None:
            return asyncio.run(run(given, given.keep.absolute()))
        with tempfile.TemporaryDirectory(prefix="lowtide-cycle-") as folder:
            return asyncio.run(run(given, Path(folder)))
    return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
