"""What the demo plays: titles, tastes of two networks, and who watches what when. Pure; randomness comes in as a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.catalogue import FileKind, FileSummary, TitleDetails
from contracts.reports import FileTraffic
from demo.footage import SourceTitle

ZIPF = 0.83
"""Popularity over rank: the slope of the 2023 engagement report."""
HOUR_S = 3600
RUNG_SHARES = {0: 0.08, 1: 0.17, 2: 0.75}
"""Share of watched time on each rung of the ladder, lowest first: most people play the best most of the time."""

TITLES = (
    SourceTitle(
        "forest-morning", "Forest Morning", "A rabbit wakes and the day goes its own way.", ("family", "nature"), 2021
    ),
    SourceTitle(
        "left-is-right", "Left Is Right", "The same wood, seen from the other side.", ("family", "comedy"), 2019
    ),
    SourceTitle("low-tide", "Low Tide", "Water leaves; what was hidden walks about.", ("documentary", "nature"), 2024),
    SourceTitle("the-close-one", "The Close One", "A story told from very near.", ("drama",), 2022),
    SourceTitle("sepia-days", "Sepia Days", "Letters from a warm country.", ("drama", "history"), 2018),
    SourceTitle("magenta", "Magenta", "One colour too many.", ("comedy", "experimental"), 2025, ("DE", "NO")),
)


@dataclass(frozen=True, slots=True)
class Network:
    """A site's viewers: addresses `PREFIX.0.x`, and their titles from most to least wanted."""

    site_id: str
    prefix: str
    region: str
    taste: tuple[str, ...]

    def address(self, number: int) -> str:
        return f"{self.prefix}.7.{10 + number % 240}"


NETWORKS = (
    Network(
        "a", "127.1", "DE", ("forest-morning", "low-tide", "left-is-right", "magenta", "the-close-one", "sepia-days")
    ),
    Network(
        "b", "127.2", "NO", ("low-tide", "sepia-days", "forest-morning", "the-close-one", "magenta", "left-is-right")
    ),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One viewer presses play `at_s` after the beginning of the evening."""

    number: int
    network: Network
    title_id: str
    at_s: float


def shares(taste: Sequence[str]) -> dict[str, float]:
    """Share of plays by title: Zipf over the order of taste."""
    weights = [1 / (rank + 1) ** ZIPF for rank in range(len(taste))]
    return {title: weight / sum(weights) for title, weight in zip(taste, weights, strict=True)}


def evening(visits: int, length_s: float, seed: int) -> list[Visit]:
    """Plays of all networks over an evening, drawn from the same tastes as the past week, spread evenly with jitter."""
    rng = random.Random(seed)
    found = []
    for number in range(visits):
        network = NETWORKS[0] if number % 5 < 3 else NETWORKS[1]
        share = shares(network.taste)
        title = rng.choices(list(share), list(share.values()))[0]
        found.append(Visit(number, network, title, (number + rng.random()) * length_s / visits))
    return found


def past_week(
    titles: Sequence[TitleDetails], network: Network, now: float, seed: int, plays_per_day: float = 400.0
) -> list[FileTraffic]:
    """A week of hourly traffic per file up to `now`, as another system would have counted it."""
    rng = random.Random(f"{seed}/{network.site_id}")
    share = shares(network.taste)
    last_hour = int(now) // HOUR_S * HOUR_S
    rows = []
    for title in titles:
        weights = file_weights(title)
        for hour in range(last_hour - 7 * 24 * HOUR_S, last_hour, HOUR_S):
            plays = plays_per_day * share[title.facts.id] * daily_curve(hour) * rng.uniform(0.8, 1.2)
            rows += [
                FileTraffic(file.key, hour, math.ceil(plays * weight), round(plays * weight * file.size_bytes))
                for file, weight in weights
            ]
    return rows


def file_weights(title: TitleDetails) -> list[tuple[FileSummary, float]]:
    """How often each file of a title is read whole in one play."""
    video = sorted((r for r in title.renditions if r.kind is FileKind.VIDEO), key=lambda r: r.bandwidth_bps)
    by_path = {r.path: RUNG_SHARES.get(rung, 0.0) for rung, r in enumerate(video)}
    by_path |= {r.playlist_path: RUNG_SHARES.get(rung, 0.0) / 10 for rung, r in enumerate(video)}
    audio = {r.path for r in title.renditions if r.kind is FileKind.AUDIO}
    return [(file, 1.0 if file.path in audio else by_path.get(file.path, 0.05)) for file in title.files]


def daily_curve(hour: int) -> float:
    """Share of a day's plays in one hour: low at 05:00 UTC, high at 20:00; sums to 1 over a day."""
    of_day = hour // HOUR_S % 24
    return (1 + 0.8 * math.cos((of_day - 20) / 24 * 2 * math.pi)) / 24
