"""Which rows and bytes of pulled objects are of no more use. Pure.

A row whose bytes were evicted promises nothing; one that is stale for good and cannot be validated is never used again; bytes that no row
names came from a keeper that was killed, or were replaced. What is younger than `YOUNG_S` is left alone: it may be on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from oca.http.caching.stored import StoredResponse
from oca.http.keys import service_key, storage_key
from oca.link.variants import read_entry
from oca.store.holdings import HeldFile
from oca.store.pulled import PulledObject, PulledVariant

YOUNG_S = 120.0


class Useless(Enum):
    """Why a variant goes (log word)."""

    NO_BYTES = "no-bytes"
    STALE_FOR_GOOD = "stale-for-good"
    UNREADABLE = "unreadable"


def useless(variant: PulledVariant, held: bool, now_s: float) -> Useless | None:
    """`held`: something of its bytes is here. None while it may still answer, or be validated."""
    entry = read_entry(variant, None)
    if entry is None:
        return Useless.UNREADABLE
    if now_s - max(variant.stored_at, entry.stored.received_at) < YOUNG_S:
        return None
    if variant.size and not held:
        return Useless.NO_BYTES
    return None if entry.stored.validates or _lasts(entry.stored, now_s) else Useless.STALE_FOR_GOOD


def _lasts(stored: StoredResponse, now_s: float) -> bool:
    facts = stored.freshness
    return stored.ttl_s(now_s) + max(facts.stale_while_revalidate_s, facts.stale_if_error_s) > 0


def strays(files: Iterable[HeldFile], row_of: Callable[[str], PulledObject | None], now_s: float) -> Iterator[str]:
    """Storage keys of versions that no row names; `row_of` gives the row of a service key."""
    for file in files:
        key = service_key(file.key)
        if key == file.key or now_s - file.stored_at < YOUNG_S:
            continue
        row = row_of(key)
        if row is None or all(storage_key(key, variant.version) != file.key for variant in row.variants):
            yield file.key
