"""The release calendar's prior: how many views a title that nobody has viewed yet starts with, and how far that can be wrong.

Ridge regression of ln(first day's views) of the titles that came out at the site on what the calendar says of them: language, genres,
franchise. The ridge is the pooling: what few titles share says little. How strong it is, and how far the prior is off, comes from leaving out
each title in turn (closed form for linear smoothers; Allen's PRESS, Technometrics 16, 1974), so that the uncertainty is that of titles not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fill_planner.popularity import Floats
from fill_planner.snapshot import CatalogueFile

RIDGES = (0.5, 2.0, 8.0, 1e6)
"""In titles; the last one leaves the mean alone."""
LEAST_TITLES = 3
"""Launches below which there is nothing to learn from."""
LEAST_SHARED = 2
"""Titles that must share a word for it to say something."""
ASSUMED_SPREAD = 1.0
ASSUMED_TITLES = 3.0
"""The spread (of the natural logarithm) that is assumed before any is seen, and what it weighs."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Per asked title ln(views of the first day): the middle and one standard deviation."""

    middle: Floats
    spread: Floats


def words_of(file: CatalogueFile) -> tuple[str, ...]:
    """What the calendar says of a file's title, in words that titles can share."""
    said = [f"genre {genre.lower()}" for genre in file.genres]
    if file.language != "und":
        said.append(f"language {file.language.lower()}")
    if file.franchise:
        said.append(f"franchise {file.franchise.lower()}")
    return tuple(dict.fromkeys(said))


def prior(words: Sequence[tuple[str, ...]], log_views: Floats, asked: Sequence[tuple[str, ...]]) -> Prior:
    """From launches (`words` and `log_views` of each) to the titles asked for. At least `LEAST_TITLES` launches are needed."""
    shared = Counter(word for one in words for word in set(one))
    columns = {word: place for place, word in enumerate(sorted(w for w, n in shared.items() if n >= LEAST_SHARED), 1)}
    design, wanted = _design(words, columns), _design(asked, columns)
    best: tuple[float, Floats, Floats] | None = None
    for ridge in RIDGES:
        penalty = np.diag([1e-9, *([ridge] * len(columns))])
        inverse = np.asarray(np.linalg.inv(design.T @ design + penalty), dtype=np.float64)
        hat = design @ inverse @ design.T
        left_out = (log_views - hat @ log_views) / np.maximum(1e-6, 1.0 - np.diag(hat))
        error = float((left_out**2).sum())
        if best is None or error < best[0] - 1e-12:
            best = (error, inverse @ design.T @ log_views, inverse)
    assert best is not None, "there is at least one ridge"
    error, solution, inverse = best
    variance = (error + ASSUMED_TITLES * ASSUMED_SPREAD**2) / (len(log_views) + ASSUMED_TITLES)
    leverage = np.einsum("ij,jk,ik->i", wanted, inverse, wanted)
    spread = np.sqrt(variance * (1.0 + np.clip(leverage, 0.0, 1.0)))
    return Prior(np.asarray(wanted @ solution, dtype=np.float64), np.asarray(spread, dtype=np.float64))


def _design(titles: Sequence[tuple[str, ...]], columns: dict[str, int]) -> Floats:
    """A constant and one column per shared word."""
    design = np.zeros((len(titles), len(columns) + 1))
    design[:, 0] = 1.0
    for row, words in enumerate(titles):
        for word in words:
            if word in columns:
                design[row, columns[word]] = 1.0
    return design
