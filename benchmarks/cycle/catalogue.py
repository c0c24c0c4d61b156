"""What there is to watch and who watches what when. Pure: the same shape gives the same catalogue and the same views.

Old files follow a Mandelbrot–Zipf law whose weights drift from day to day. Titles that come out carry `release_share` of all bytes during their first
week and fade; from then on they are old files of the middle of the list. Their dates are known in the catalogue ahead. It shares no code with the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from contracts.catalogue import FileKind, Licence, PublishedFile, Title, TitleFacts
from contracts.digests import BLOCK_BYTES, DigestBuilder, FileDigests
from contracts.urls import MediaName

Floats = NDArray[np.float64]
DAY_S = 86_400.0
HOUR_S = 3_600.0
NEW_FOR_DAYS = 7
TIER = "hd"
LONG_AGO_DAYS = 60.0
SMALLEST_BYTES, LARGEST_BYTES = 100_000, 2_000_000
HOURS = (
    *(30.0, 20.0, 13.0, 9.0, 7.0, 7.0, 9.0, 13.0, 18.0, 22.0, 26.0, 30.0),
    *(34.0, 36.0, 38.0, 42.0, 50.0, 62.0, 78.0, 94.0, 100.0, 96.0, 76.0, 50.0),
)
"""Views by hour of the day, in parts of the busiest hour's: an evening of television."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large, how popular, how quickly it changes."""

    files: int = 1400
    """Old ones, releases not counted."""
    files_a_title: int = 4
    days: int = 7
    views_a_day: int = 1200
    """At each site, of whole files."""
    slope: float = 0.83
    flat_ranks: float = 20.0
    """Mandelbrot's shift: the first so many ranks are nearly equal."""
    release_share: float = 0.36
    releases_a_day: int = 3
    """Titles that come out each midnight."""
    fade_days: float = 3.0
    """A release's views fall to 1/e in so many days."""
    drift: float = 0.1
    """Standard deviation of a day's step of the logarithm of an old file's weight."""
    mean_bytes: int = 768 * 1024
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `out_on` is the day it comes out, counted from the first day of the run; far below 0 for old ones."""

    number: int
    title_id: str
    name: str
    size_bytes: int
    out_on: float
    weight: float

    @property
    def media(self) -> MediaName:
        return MediaName(self.title_id, TIER, self.name)

    @property
    def is_release(self) -> bool:
        return self.out_on > -LONG_AGO_DAYS

    def content(self, first: int = 0, last: int | None = None) -> bytes:
        """Bytes first … last (inclusive; None: to the end) of the file: the BLAKE3 output of its own key, so that nobody has to keep them."""
        end = self.size_bytes if last is None else min(last + 1, self.size_bytes)
        return blake3(self.media.key.encode()).digest(length=end - first, seek=first)


@dataclass(frozen=True, slots=True)
class View:
    """Somebody watches a whole file; `at_s` counts from the first midnight of the run, by the calendar."""

    at_s: float
    entry: int


def make_catalogue(shape: Shape) -> tuple[Entry, ...]:
    """Old files by rank, then releases by date, from those of the week before the run to those of the day after it."""
    rng = np.random.default_rng(shape.seed)
    dates = [-LONG_AGO_DAYS] * shape.files
    weights = list((np.arange(shape.files) + 1 + shape.flat_ranks) ** -shape.slope)
    for day in range(1 - NEW_FOR_DAYS, shape.days + 2):
        for heat in rng.lognormal(0.0, 0.7, shape.releases_a_day):
            dates += [float(day)] * shape.files_a_title
            weights += list(heat * rng.lognormal(0.0, 0.3, shape.files_a_title))
    sizes = rng.lognormal(np.log(shape.mean_bytes) - 0.18, 0.6, len(dates))
    titles = _titles(shape, rng, len(dates))
    return tuple(
        Entry(
            number,
            title_id=titles[number],
            name=f"f-{number:05d}.mp4",
            size_bytes=int(min(LARGEST_BYTES, max(SMALLEST_BYTES, sizes[number]))),
            out_on=dates[number],
            weight=float(weights[number]),
        )
        for number in range(len(dates))
    )


def _titles(shape: Shape, rng: np.random.Generator, count: int) -> list[str]:
    """Title of every file: old files of one title have ranks that lie anywhere; a release's files belong together."""
    old = rng.permutation(shape.files) // shape.files_a_title
    new = (np.arange(count - shape.files)) // shape.files_a_title
    return [f"old-{n:04d}" for n in old] + [f"new-{n:04d}" for n in new]


def catalogue_bytes(entries: Sequence[Entry]) -> int:
    return sum(entry.size_bytes for entry in entries)


class Demand:
    """Who is asked for how much on which day."""

    def __init__(self, shape: Shape, entries: Sequence[Entry]) -> None:
        self._shape = shape
        self._out_on = np.array([entry.out_on for entry in entries])
        self._weight = np.array([entry.weight for entry in entries])
        rng = np.random.default_rng(shape.seed + 1)
        steps = rng.normal(0.0, shape.drift, (shape.days + 1, len(entries)))
        self._drift = np.exp(np.cumsum(steps, axis=0))
        self._old_again = float(np.median(self._weight[self._out_on <= -LONG_AGO_DAYS]))

    def shares(self, day: int) -> Floats:
        """Each file's share of the day's views; they sum to 1."""
        age = day - self._out_on
        fresh = (age >= 0) & (age < NEW_FOR_DAYS)
        old = age >= NEW_FOR_DAYS
        was_release = self._out_on > -LONG_AGO_DAYS
        settled = np.where(was_release, self._old_again, self._weight) * self._drift[day]
        new_part = np.where(fresh, self._weight * np.exp(-age / self._shape.fade_days), 0.0)
        old_part = np.where(old, settled, 0.0)
        share = self._shape.release_share if new_part.any() else 0.0
        shares: Floats = (1.0 - share) * old_part / old_part.sum()
        return shares + share * new_part / new_part.sum() if share else shares

    def views(self, day: int) -> list[View]:
        """A day's views in the order of time; their number is Poisson's."""
        rng = np.random.default_rng((self._shape.seed, day))
        hours = np.array(HOURS) / sum(HOURS)
        count = int(rng.poisson(self._shape.views_a_day))
        hour = rng.choice(24, size=count, p=hours)
        at = np.sort(day * DAY_S + (hour + rng.random(count)) * HOUR_S)
        chosen = rng.choice(len(self._weight), size=count, p=self.shares(day))
        return [View(float(when), int(entry)) for when, entry in zip(at, chosen, strict=True)]


def digests_of(entry: Entry) -> FileDigests:
    builder = DigestBuilder(entry.media.key, "video/mp4")
    builder.update(entry.content())
    return builder.finish()


def titles_of(entries: Sequence[Entry], digests: Sequence[FileDigests], began_at: float) -> list[Title]:
    """As the origin publishes them; `began_at` is the calendar's first midnight. A release may not be shown before its date."""
    by_title: dict[str, list[Entry]] = {}
    for entry in entries:
        by_title.setdefault(entry.title_id, []).append(entry)
    return [_title(title_id, files, digests, began_at) for title_id, files in sorted(by_title.items())]


def _title(title_id: str, files: Sequence[Entry], digests: Sequence[FileDigests], began_at: float) -> Title:
    out_at = began_at + files[0].out_on * DAY_S
    licence = Licence(starts_at=out_at) if files[0].is_release else Licence()
    published = tuple(
        PublishedFile(
            path=entry.media.path,
            kind=FileKind.VIDEO,
            tier=TIER,
            group=f"{title_id}/{entry.name}",
            size_bytes=entry.size_bytes,
            digests=digests[entry.number],
        )
        for entry in files
    )
    return Title(TitleFacts(title_id, title_id, licence=licence), 0.0, (), published, published_at=out_at)


def ranges_of(entry: Entry, blocks: int = 2) -> list[tuple[int, int]]:
    """The requests of a view: byte ranges (inclusive) of so many whole blocks."""
    step = blocks * BLOCK_BYTES
    return [(first, min(first + step, entry.size_bytes) - 1) for first in range(0, entry.size_bytes, step)]
