"""What an operator asks: this scenario with another disk, other boxes, another window. Pure.

A change is `what=value`, for every site, or `site.what=value` for one: `disk=40TB`, `disk=5%`, `boxes=2`, `window=4h`, `rate=2Gbps`, `volume=6.5TB`, `cache=20%`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fill_planner.simulator.scenario import Scenario, SiteSpec
from policies.comparison import parse_sizes


def _boxes(site: SiteSpec, text: str) -> SiteSpec:
    return replace(site, boxes=_whole(text, 1, 64))


def _disk(site: SiteSpec, text: str) -> SiteSpec:
    parse_sizes([text])
    return replace(site, disk=text)


def _window(site: SiteSpec, text: str) -> SiteSpec:
    return replace(site, window_hours=_whole(text.removesuffix("h"), 1, 24))


def _rate(site: SiteSpec, text: str) -> SiteSpec:
    return replace(site, fill_gbps=_number(text.lower().removesuffix("gbps")))


def _volume(site: SiteSpec, text: str) -> SiteSpec:
    found = parse_sizes([text])[0]
    if found.share:
        raise ValueError(f"{text!r} is no volume, such as 6.5TB")
    return replace(site, fill_tb=found.of(0) / 1e12)


def _cache(site: SiteSpec, text: str) -> SiteSpec:
    share = parse_sizes([text])[0].share
    if not share:
        raise ValueError(f"{text!r} is no share, such as 20%")
    return replace(site, cache_share=share)


CHANGES: dict[str, Callable[[SiteSpec, str], SiteSpec]] = {
    "disk": _disk,
    "boxes": _boxes,
    "window": _window,
    "rate": _rate,
    "volume": _volume,
    "cache": _cache,
}


def changed(scenario: Scenario, text: str) -> Scenario:
    """The scenario with one change. Raises ValueError in words that name the change."""
    what, equals, value = text.partition("=")
    name, dot, last = what.rpartition(".")
    change = CHANGES.get(last)
    if not equals or change is None or not value:
        raise ValueError(f"{text!r} is no change: give {', '.join(f'{one}=…' for one in CHANGES)}, or SITE.disk=…")
    if dot and name not in {site.name for site in scenario.sites}:
        raise ValueError(f"{text!r}: no site is called {name!r}")
    try:
        sites = tuple(change(site, value) if name in ("", site.name) else site for site in scenario.sites)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    return replace(scenario, sites=sites)


def _whole(text: str, least: int, most: int) -> int:
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise ValueError(f"{text!r} is no whole number from {least} to {most}")
    return found


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise ValueError(f"{text!r} is no number above 0")
    return found
