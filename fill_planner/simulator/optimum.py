"""What nobody can beat who serves the same requests from the same disk, however well he knows the future. Pure.

A request is served inside only when its file lay on the site's disk. Either it lay there since the last request for it, which costs the disk `size` bytes
for the time between (a disk of C bytes has C × N of these to give over N requests), or a plan brought it since, which costs `size` bytes of filling. So

    inside bytes ≤ (most bytes that the disk's space-time buys, shortest intervals first) + bytes filled.

The first part is the bound of Berger, Beckmann & Harchol-Balter (PFOO-L, SIGMETRICS 2018) for any cache. `best_days` is not a bound but the plan of somebody
who knows each day's demand in the evening before: the best set of files from day to day, without a limit on filling and without a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fill_planner.simulator.demand import Requests
from fill_planner.simulator.shape import Floats


def cache_bound(requests: Sequence[Requests], sizes: Floats, disk_bytes: float, counted_from: int = 0) -> float:
    """Most bytes that any cache serves of the hours from `counted_from` on; what it holds then is free."""
    asked = np.concatenate([np.zeros(0, dtype=np.int64), *requests])
    start = sum(len(hour) for hour in requests[:counted_from])
    order = np.argsort(asked, kind="stable")
    same = asked[order[1:]] == asked[order[:-1]]
    later, earlier = order[1:][same], order[:-1][same]
    counted = later >= start
    files = asked[later[counted]]
    length = (later - np.maximum(earlier, start))[counted]
    weight = sizes[files]
    fits = weight <= disk_bytes
    by_length = np.argsort(length[fits], kind="stable")
    weight, cost = weight[fits][by_length], (length[fits] * weight[fits])[by_length]
    budget = disk_bytes * (len(asked) - start)
    spent = np.cumsum(cost)
    whole = int(np.searchsorted(spent, budget, side="right"))
    bought = float(weight[:whole].sum())
    if whole < len(cost):
        left = budget - (float(spent[whole - 1]) if whole else 0.0)
        bought += float(weight[whole]) * left / float(cost[whole])
    return bought


def best_days(
    requests: Sequence[Requests], sizes: Floats, disk_bytes: float, counted_from: int, opens_hour: int
) -> float:
    """Bytes served by the best set of files of each day, a day beginning when the window opens."""
    served = 0.0
    starts = [hour for hour in range(counted_from, len(requests)) if hour % 24 == opens_hour]
    edges = sorted({counted_from, *starts, len(requests)})
    for begin, end in pairwise(edges):
        views = np.bincount(np.concatenate(requests[begin:end]), minlength=len(sizes)).astype(np.float64)
        order = np.argsort(-views, kind="stable")
        held = np.cumsum(sizes[order])
        whole = int(np.searchsorted(held, disk_bytes, side="right"))
        served += float((views * sizes)[order[:whole]].sum())
        if whole < len(order):
            left = disk_bytes - (float(held[whole - 1]) if whole else 0.0)
            served += float(views[order[whole]]) * left
    return served
