"""Misses per site and hour from whatever knows of them: reports, steering's own count, logs that were joined. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from contracts.instants import HOUR_CHARS
from contracts.plays import Cause, HourAccount, MeantHour, SiteHour
from contracts.reports import Source

Place = tuple[str, str]
"""(site, hour such as `2026-11-21T09`)."""


def site_hours(
    served: Mapping[Place, Mapping[Source, int]], meant: Iterable[MeantHour], joined: Iterable[HourAccount]
) -> tuple[SiteHour, ...]:
    """All sites and hours that anybody names, the oldest hour first, then by site. Counts of several processes are added up."""
    plays: Counter[Place] = Counter()
    causes: dict[Place, Counter[str]] = {}
    for hour in meant:
        place = (hour.site, hour.hour)
        plays[place] += hour.plays
        causes.setdefault(place, Counter()).update(hour.meant)
    accounts = {(one.site, one.hour): one for one in joined}
    found = []
    for site, name in sorted({*served, *causes, *accounts}, key=lambda place: (place[1], place[0])):
        place = (site, name)
        account = accounts.get(place)
        found.append(
            SiteHour(
                site,
                name,
                {source.value: count for source, count in served.get(place, {}).items()},
                plays[place],
                dict(causes.get(place, {})),
                account.requests if account else 0,
                dict(account.bytes) if account else {},
            )
        )
    return tuple(found)


def wrong_accounts(accounts: Iterable[HourAccount]) -> tuple[str, ...]:
    """One line for everything that is no account."""
    known = {cause.value for cause in Cause}
    wrong: list[str] = []
    seen: set[Place] = set()
    for number, one in enumerate(accounts):
        where = f"accounts[{number}]"
        if not _is_hour(one.hour):
            wrong.append(f"{where}.hour: {one.hour!r} is no hour such as 2026-11-21T09")
        for name, counts in (("bytes", one.bytes), ("plays", one.plays)):
            if strange := sorted(counts.keys() - known):
                wrong.append(f"{where}.{name}: {', '.join(strange)}: the causes are {', '.join(sorted(known))}")
            if any(count < 0 for count in counts.values()):
                wrong.append(f"{where}.{name}: nothing is counted below nought")
        if one.requests < 0:
            wrong.append(f"{where}.requests: nothing is counted below nought")
        if (one.site, one.hour) in seen:
            wrong.append(f"{where}: site {one.site or '(none)'} and hour {one.hour} are there twice")
        seen.add((one.site, one.hour))
    return tuple(wrong[:20])


def _is_hour(text: str) -> bool:
    try:
        return len(text) == HOUR_CHARS and datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC).year > 0
    except ValueError:
        return False
