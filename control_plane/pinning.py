"""What pins mean for a plan. Pure.

A pin speaks of a plan when some of its time lies in the plan's: from the opening of the window (now, when that is open) to a day after its
closing. So what is wanted from a date on is there before it, and what is wanted nowhere from a date on is gone by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from contracts.pins import Pin, PinKind, PinRequest, PrepositionRequest
from contracts.places import Site
from contracts.urls import is_name, split_key
from control_plane.feeding import LATEST
from fill_planner.snapshot import CatalogueFile, SiteWindow

DAY_S = 86400.0
MOST_PREPOSITION_S = 14 * DAY_S


def keys_at(
    site: Site, window: SiteWindow, now: float, pins: Sequence[Pin], meant: Mapping[int, tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(required, forbidden) keys of a site. `meant` is `keys_of_pins`; what is forbidden is never required."""
    from_t, until_t = max(now, window.opens_at), window.closes_at + DAY_S
    found: dict[PinKind, set[str]] = {kind: set() for kind in PinKind}
    for pin in pins:
        if in_scope(pin.wanted, site) and in_time(pin.wanted, from_t, until_t):
            found[pin.wanted.kind].update(meant[pin.number])
    never = found[PinKind.NEVER]
    return tuple(sorted(found[PinKind.ALWAYS] - never)), tuple(sorted(never))


def keys_of_pins(pins: Iterable[Pin], files: Sequence[CatalogueFile]) -> dict[int, tuple[str, ...]]:
    """Pin number → the published keys that it means."""
    known = {file.key for file in files}
    by_title: dict[str, list[str]] = {}
    for file in files:
        by_title.setdefault(file.title_id, []).append(file.key)
    return {pin.number: keys_meant(pin.wanted, known, by_title) for pin in pins}


def keys_meant(
    wanted: PinRequest | PrepositionRequest, known: set[str], by_title: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    if wanted.title_id:
        return tuple(by_title.get(wanted.title_id, ()))
    return (wanted.key,) if wanted.key in known else ()


def in_scope(wanted: PinRequest | PrepositionRequest, site: Site) -> bool:
    return wanted.site_id in ("", site.id) and wanted.region in ("", site.region)


def in_time(wanted: PinRequest, from_t: float, until_t: float) -> bool:
    starts_at = -math.inf if wanted.starts_at is None else wanted.starts_at
    ends_at = math.inf if wanted.ends_at is None else wanted.ends_at
    return starts_at < until_t and from_t < ends_at


def wrong_pin(wanted: PinRequest, sites: Mapping[str, Site], now: float) -> tuple[str, ...]:
    """One line for everything that contradicts itself in a pin."""
    wrong = [*_wrong_subject(wanted), *_wrong_scope(wanted, sites)]
    for name, at in (("starts_at", wanted.starts_at), ("ends_at", wanted.ends_at)):
        if at is not None and not 0 <= at <= LATEST:
            wrong.append(f"{name}: {at:g} is not an instant in seconds since 1970")
    if wanted.starts_at is not None and wanted.ends_at is not None and wanted.ends_at <= wanted.starts_at:
        wrong.append("ends_at: must be after starts_at")
    if wanted.ends_at is not None and wanted.ends_at <= now:
        wrong.append("ends_at: is over already")
    return tuple(wrong)


def wrong_preposition(wanted: PrepositionRequest, sites: Mapping[str, Site], now: float) -> tuple[str, ...]:
    """One line for everything that contradicts itself in a preposition."""
    wrong = [*_wrong_subject(wanted), *_wrong_scope(wanted, sites)]
    if not wanted.site_id and not wanted.region:
        wrong.append("site_id, region: say one of them")
    if not now < wanted.until <= now + MOST_PREPOSITION_S:
        wrong.append(f"until: must lie within the next {MOST_PREPOSITION_S / DAY_S:.0f} days")
    if wanted.rate_bps < 0:
        wrong.append("rate_bps: must not be negative")
    return tuple(wrong)


def _wrong_subject(wanted: PinRequest | PrepositionRequest) -> list[str]:
    if bool(wanted.key) == bool(wanted.title_id):
        return ["key, title_id: say exactly one of them"]
    if wanted.title_id and not is_name(wanted.title_id):
        return [f"title_id: {wanted.title_id!r} is not the name of a title"]
    if wanted.key:
        try:
            split_key(wanted.key)
        except ValueError as error:
            return [f"key: {error}"]
    return []


def _wrong_scope(wanted: PinRequest | PrepositionRequest, sites: Mapping[str, Site]) -> list[str]:
    if wanted.region and wanted.site_id:
        return ["site_id, region: say at most one of them"]
    if wanted.site_id and wanted.site_id not in sites:
        return [f"site_id: there is no site {wanted.site_id!r}"]
    if wanted.region and all(site.region != wanted.region for site in sites.values()):
        return [f"region: there is no site in region {wanted.region!r}"]
    return []
