"""Weekly lists made up for tests: titles that come in, fade at their own pace, and drop out when ten others have more hours."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from fill_planner.toplists.lists import COLUMNS, Entry, last_day, week_of

FIRST_SUNDAY = datetime.date(2021, 7, 4)
LISTS = ("Films (English)", "TV (Non-English)")


def entry(
    week: int,
    rank: int = 1,
    show: str = "Show",
    hours: float = 1e6,
    weeks_listed: int = 1,
    list_name: str = LISTS[0],
    season: str = "",
) -> Entry:
    return Entry(week, list_name, rank, show, season, hours, 2.0, hours / 2.0, weeks_listed)


def generated(weeks: int, seed: int = 1, places: int = 8) -> tuple[Entry, ...]:
    """Oldest week first. Films fall faster than series; each title has a pace of its own that its second week shows."""
    rng = np.random.default_rng(seed)
    first = week_of(FIRST_SUNDAY)
    found: list[Entry] = []
    for place, name in enumerate(LISTS):
        running: dict[str, tuple[float, float, int]] = {}
        for week in range(first, first + weeks):
            running = {show: (hours * pace, pace, listed) for show, (hours, pace, listed) in running.items()}
            for number in range(2):
                pace = float(rng.uniform(0.45, 0.8) + 0.1 * place)
                running[f"{name} {week} {number}"] = (float(rng.lognormal(15, 0.7)), pace, 0)
            listed = sorted(running, key=lambda show: -running[show][0])[:places]
            running = {show: (*running[show][:2], running[show][2] + 1) for show in listed}
            for rank, show in enumerate(listed, 1):
                hours, _, age = running[show]
                noisy = max(1.0, round(hours * float(rng.lognormal(0, 0.05))))
                season = f"{show}: Season 1" if place else ""
                found.append(Entry(week, name, rank, show, season, noisy, 1.5, float(round(noisy / 1.5)), age))
    return tuple(sorted(found, key=lambda one: (one.week, one.list_name, one.rank)))


def text(entries: Sequence[Entry]) -> str:
    """As the public file has it, newest week first."""
    lines = ["\t".join(COLUMNS)]
    for one in sorted(entries, key=lambda entry: (-entry.week, entry.list_name, entry.rank)):
        fields = (
            last_day(one.week).isoformat(), one.list_name, one.rank, one.show, one.season or "N/A", f"{one.hours:.0f}",
            one.runtime_h, f"{one.views:.0f}", one.weeks_listed,
        )  # fmt: skip
        lines.append("\t".join(str(field) for field in fields))
    return "\n".join(lines) + "\n"
