"""The plan that needs no planner: once a week, the files that were most viewed in the week before. Pure.

What a list of the most popular gives (Krishnappa et al., PAM 2011, who prefetched a week's first hundred); here it is a yardstick for forecasts.
"""

from __future__ import annotations

import numpy as np

from fill_planner.simulator.planning import Reports, Wanted
from fill_planner.simulator.scenario import DAY_HOURS
from fill_planner.simulator.shape import WEEK, Bools, Floats, Ints


class WeeklyTop:
    """The `count` most viewed files of the last seven days, each at its home (files × boxes, best first), as far as `box_bytes` reach."""

    def __init__(self, count: int, sizes: Floats, homes: Ints, box_bytes: float) -> None:
        self._count = count
        self._sizes = sizes
        self._homes = homes[:, 0]
        self._box_bytes = box_bytes
        self._days = 0
        self._pins = np.zeros((homes.shape[1], len(sizes)), dtype=np.bool_)

    def plan(self, hour: int, reports: Reports, pinned: Bools, present: Bools) -> Wanted:
        day = hour // DAY_HOURS
        if day - self._days >= WEEK:
            self._days = day
            self._pins = self._top(reports.views[:, -WEEK:].sum(axis=1))
        lacking = self._pins & ~present
        return Wanted(self._pins.copy(), tuple(np.flatnonzero(box) for box in lacking))

    def _top(self, views: Floats) -> Bools:
        pins = np.zeros_like(self._pins)
        left = np.full(len(pins), float(self._box_bytes))
        for row in np.argsort(-views, kind="stable")[: self._count].tolist():
            box = int(self._homes[row])
            if views[row] > 0 and self._sizes[row] <= left[box]:
                pins[box, row] = True
                left[box] -= self._sizes[row]
        return pins
