"""A home page from what is known of a member and of a region. Pure.

Laws: only titles of the shelf (what the catalog shows in the member's region) appear; a title appears at most once on the
page; a row is never empty; the page is never empty while the shelf is not; at most half of the shelf is popular, since a word
that is true of everything says nothing. Rows in order: continue watching, because you
watched, popular here, new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from companions.recommendation.similarity import Traits, most_like
from contracts.catalogue import TitleSummary
from contracts.viewing import Position, Row, RowKind, TitleCount

LEAST_ALIKE = 2
"""A "because you watched" row with fewer titles says too little to be worth its heading."""


@dataclass(frozen=True, slots=True)
class Tastes:
    """What rows are made from. `shelf` is newest first; `popular` most played first; `positions` last watched first."""

    shelf: Sequence[TitleSummary]
    popular: Sequence[TitleCount]
    positions: Sequence[Position]


@dataclass(frozen=True, slots=True)
class Shape:
    """How many titles a row has and how many "because you watched" rows a page."""

    row_titles: int = 12
    because_rows: int = 2


def build(tastes: Tastes, shape: Shape) -> tuple[Row, ...]:
    page = _Page(tastes, shape)
    page.add_continue()
    page.add_because()
    page.add_popular()
    page.add_new()
    return tuple(page.rows)


class _Page:
    def __init__(self, tastes: Tastes, shape: Shape) -> None:
        self._tastes = tastes
        self._shape = shape
        self._by_id = {title.id: title for title in tastes.shelf}
        self._shown: set[str] = set()
        self.rows: list[Row] = []

    def add_continue(self) -> None:
        open_ones = {p.title_id: share(p) for p in self._tastes.positions if not p.finished and p.position_s > 0}
        titles = self._take(open_ones)
        self._add(RowKind.CONTINUE, "Continue watching", titles, {title.id: open_ones[title.id] for title in titles})

    def add_because(self) -> None:
        """Seeds are the titles watched last; what the member knows already is not offered again."""
        known = {position.title_id for position in self._tastes.positions}
        fresh = [title for title in self._tastes.shelf if title.id not in known]
        traits = Traits(self._tastes.shelf)
        made = 0
        for position in self._tastes.positions:
            seed = self._by_id.get(position.title_id)
            if seed is None or made == self._shape.because_rows:
                continue
            alike = [t for t in most_like(seed, fresh, traits) if t.id not in self._shown]
            if len(alike) >= LEAST_ALIKE:
                self._add(RowKind.BECAUSE, f"Because you watched {seed.name}", self._take(t.id for t in alike))
                made += 1

    def add_popular(self) -> None:
        ids = [count.title_id for count in self._tastes.popular if count.title_id in self._by_id]
        half = (len(self._by_id) + 1) // 2
        self._add(RowKind.POPULAR, "Popular here", self._take(ids[:half]))

    def add_new(self) -> None:
        self._add(RowKind.NEW, "New", self._take(title.id for title in self._tastes.shelf))

    def _take(self, ids: Iterable[str]) -> tuple[TitleSummary, ...]:
        """The next titles of a row that the region shows and the page does not show yet."""
        found: list[TitleSummary] = []
        for title_id in ids:
            if len(found) == self._shape.row_titles:
                break
            if title_id in self._by_id and title_id not in self._shown:
                self._shown.add(title_id)
                found.append(self._by_id[title_id])
        return tuple(found)

    def _add(
        self, kind: RowKind, heading: str, titles: tuple[TitleSummary, ...], positions: dict[str, float] | None = None
    ) -> None:
        if titles:
            self.rows.append(Row(kind, heading, titles, positions or {}))


def share(position: Position) -> float:
    """How much of a title was watched, 0 to 1."""
    return min(1.0, max(0.0, position.position_s / position.duration_s)) if position.duration_s > 0 else 0.0
