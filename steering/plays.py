"""What the steering log tells operators: plays found again, and first choices by site and hour as they were meant. Pure."""

from __future__ import annotations

from collections import Counter

from contracts.decisions import Decision, PlayQuery
from contracts.instants import hour_of, instant, seconds_of
from contracts.plays import LONGEST_SESSION_S, LOOK_BACK_S, Cause, FoundPlay, MeantHour, PlaySearch
from contracts.urls import is_name, parse_media_path, split_key
from contracts.world import Why
from steering.decided import Recorder, holders_of
from steering.misses import meant
from steering.prefixes import parse_address
from steering.ranking import Ranked
from steering.searching import Wanted

HOURS = 48


class Tally:
    """First choices by site and hour since this process began, for the last HOURS hours."""

    def __init__(self, since_s: float) -> None:
        self.since = instant(since_s)
        self._number = -1
        self._name = ""
        self._hours: dict[str, dict[str, Counter[str]]] = {}
        self._plays: Counter[tuple[str, str]] = Counter()

    def add(self, wall_s: float, ranked: Ranked) -> None:
        """Counts a decision made at an instant."""
        hour = self._hour(wall_s)
        sites = self._hours.get(hour)
        if sites is None:
            sites = self._hours[hour] = {}
            self._forget()
        ranking = ranked.ranking
        site = ranking.site_id
        causes = sites.get(site)
        if causes is None:
            causes = sites[site] = Counter()
        self._plays[hour, site] += 1
        others = [number for number, group in enumerate(ranking.groups) if group.choices[0].why is not Why.HOLDS]
        causes[Cause.INSIDE.value] += len(ranking.groups) - len(others)
        for number in others:
            causes[_why_not(ranked, number).value] += 1

    def rows(self) -> tuple[MeantHour, ...]:
        """The oldest hour first, then by site."""
        return tuple(
            MeantHour(site, hour, self._plays[hour, site], {cause.value: causes[cause.value] for cause in Cause})
            for hour, sites in sorted(self._hours.items())
            for site, causes in sorted(sites.items())
        )

    def _hour(self, wall_s: float) -> str:
        number = int(wall_s // 3600)
        if number != self._number:
            self._number, self._name = number, hour_of(wall_s)
        return self._name

    def _forget(self) -> None:
        for hour in sorted(self._hours)[:-HOURS]:
            for site in self._hours.pop(hour):
                del self._plays[hour, site]


def found_play(decision: Decision) -> FoundPlay:
    """A decision in a list."""
    first = Counter(group.choices[0][0] or group.choices[0][2] for group in decision.groups if group.choices)
    causes = Counter(meant(decision, group).value for group in decision.groups)
    return FoundPlay(
        decision.time,
        decision.client,
        decision.site,
        decision.prefix,
        title_of(decision),
        len(decision.groups),
        dict(first.most_common()),
        {cause.value: causes[cause.value] for cause in Cause if causes[cause.value]},
        decision.play,
        decision.steered,
    )


def title_of(decision: Decision) -> str:
    """The title that a play was of; empty where its files are no media."""
    keys = (key for group in decision.groups for key in group.keys)
    name = next((parse_media_path(split_key(key)[1]) for key in keys), None)
    return name.title if name is not None else ""


def wanted_by(query: PlaySearch, recorder: Recorder, now_s: float) -> Wanted:
    """What a query asks of the log. Raises ValueError naming everything that is wrong."""
    wrong: list[str] = []
    until_s = _seconds("until", query.until, now_s + 0.001, wrong)
    since_s = _seconds("since", query.since, until_s - LOOK_BACK_S, wrong)
    client = ""
    if query.client:
        try:
            client = recorder.cut(parse_address(query.client))
        except ValueError:
            wrong.append(f"client: {query.client!r} is no IP address")
    if query.title and not is_name(query.title):
        wrong.append(f"title: {query.title!r} is no id of a title")
    if since_s >= until_s:
        wrong.append("since: has to be before until")
    if wrong:
        raise ValueError("; ".join(wrong))
    return Wanted(query.play, client, query.title, instant(since_s), instant(until_s))


def since_of(query: PlayQuery, now_s: float) -> str:
    """From which instant on a session is looked for, as lines have it. Raises ValueError in words."""
    wrong: list[str] = []
    since_s = _seconds("since", query.since, now_s - LONGEST_SESSION_S, wrong)
    if wrong:
        raise ValueError(wrong[0])
    return instant(since_s)


def _seconds(name: str, text: str, otherwise: float, wrong: list[str]) -> float:
    """Seconds since the Epoch; what is no instant goes to `wrong`."""
    try:
        return seconds_of(text) if text else otherwise
    except ValueError as error:
        wrong.append(f"{name}: {error}")
        return otherwise


def _why_not(ranked: Ranked, number: int) -> Cause:
    """Why the first choice of a group holds nothing: `misses.cause_of` before anything is written down."""
    holders = list(holders_of(ranked.view, ranked.groups[number].hashes))
    if not holders:
        return Cause.CONTENT
    well = any(box.problem is None and not box.standing.full for box in holders)
    return Cause.OTHER if well else Cause.HEALTH
