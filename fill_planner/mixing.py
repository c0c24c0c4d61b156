"""Whose demand stands for a site's: its own, its region's, or an uploaded feed's, by weights (DESIGN §4.1).

Laws: what comes of it has the volume of the site's own traffic, so that the other sources say what is watched and never how much; a site
without traffic of its own has the volume of an average site of its region, else that of the feed as it is. A source that knows nothing has no weight.
Without any named source nothing is changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from contracts.places import PopularityKind, Site
from fill_planner.snapshot import HourlySeries

Traffic = Mapping[str, HourlySeries]
"""By key."""


def mixed(site: Site, own: Traffic, region: Sequence[Traffic], feeds: Mapping[str, Traffic]) -> dict[str, HourlySeries]:
    """The traffic that a plan takes for the site's. `region` is that of each site of its region, the site itself among them."""
    if not site.popularity:
        return dict(own)
    needs_region = any(one.kind is PopularityKind.REGION for one in site.popularity) or not _total(own)
    summed = _summed([(1.0, traffic) for traffic in region]) if needs_region else {}
    by_kind = {PopularityKind.OWN: own, PopularityKind.REGION: summed}
    wanted = [
        (one.weight, by_kind[one.kind] if one.kind in by_kind else feeds.get(one.feed, {})) for one in site.popularity
    ]
    heard = [(weight, traffic, total) for weight, traffic in wanted if weight > 0 and (total := _total(traffic)) > 0]
    if not heard:
        return {}
    weights = sum(weight for weight, _, _ in heard)
    speaking = sum(_total(traffic) > 0 for traffic in region)
    volume = _total(own) or (_total(summed) / speaking if speaking else heard[0][2])
    return _summed([(weight / weights * volume / total, traffic) for weight, traffic, total in heard])


def _total(traffic: Traffic) -> float:
    return float(sum(sum(series.served_bytes) for series in traffic.values()))


def _summed(parts: Sequence[tuple[float, Traffic]]) -> dict[str, HourlySeries]:
    """The weighted sum, in whole bytes; hours in their order."""
    sums: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for factor, traffic in parts:
        for key, series in traffic.items():
            hours = sums[key]
            for hour, amount in zip(series.hours, series.served_bytes, strict=True):
                hours[hour] += factor * amount
    return {
        key: HourlySeries(tuple(sorted(hours)), tuple(round(hours[hour]) for hour in sorted(hours)))
        for key, hours in sums.items()
    }
