"""How much one title is like another: what they share of genres and cast, the rarer the more. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from contracts.catalogue import TitleSummary

GENRE = "genre"
CAST = "cast"
Trait = tuple[str, str]


class Traits:
    """The traits of a catalogue, each with the weight of its rarity (inverse document frequency)."""

    def __init__(self, titles: Iterable[TitleSummary]) -> None:
        counted: Counter[Trait] = Counter()
        count = 0
        for title in titles:
            count += 1
            counted.update(traits_of(title))
        self._weights = {trait: math.log(1.0 + count / times) for trait, times in counted.items()}

    def likeness(self, one: TitleSummary, other: TitleSummary) -> float:
        """0 (nothing in common) to 1 (the same traits): the weighted Jaccard index."""
        left, right = traits_of(one), traits_of(other)
        whole = sum(self._weight(trait) for trait in left | right)
        return sum(self._weight(trait) for trait in left & right) / whole if whole else 0.0

    def _weight(self, trait: Trait) -> float:
        return self._weights.get(trait, 1.0)


def traits_of(title: TitleSummary) -> frozenset[Trait]:
    genres = {(GENRE, genre.casefold()) for genre in title.genres}
    return frozenset(genres | {(CAST, name.casefold()) for name in title.cast})


def most_like(seed: TitleSummary, candidates: Sequence[TitleSummary], traits: Traits) -> list[TitleSummary]:
    """Those that share anything with the seed, most alike first; equals stay in the given order."""
    rated = [(traits.likeness(seed, title), title) for title in candidates if title.id != seed.id]
    rated = [pair for pair in rated if pair[0] > 0]
    rated.sort(key=lambda pair: -pair[0])
    return [title for _, title in rated]
