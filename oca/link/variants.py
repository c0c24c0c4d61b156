"""What worker and keeper both make of a pull-through service and its stored variants. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from oca.config import PullService
from oca.http.caching.stored import StoredResponse, Terms, unpack_stored
from oca.http.caching.validation import softened
from oca.store.pulled import PulledVariant
from oca.store.purge import PurgeMode

_DECIDING = (b"cache-control", b"pragma")
"""Fields of a request that decide about reuse and do not go upstream."""
_PASSED_ALWAYS = b"cdn-loop"

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A variant and the response that it is."""

    variant: PulledVariant
    stored: StoredResponse


@dataclass(frozen=True, slots=True)
class Service:
    """A configured service, read once."""

    settings: PullService
    terms: Terms
    kept_parameters: frozenset[str] | None
    passed: frozenset[bytes]
    """Request fields that go upstream."""

    @classmethod
    def of(cls, settings: PullService) -> Service:
        terms = Terms(
            negative_ttl_s=settings.negative_ttl_s,
            server_error_ttl_s=settings.server_error_ttl_s,
            heuristic_ceiling_s=settings.heuristic_ceiling_s,
            stale_while_revalidate_s=settings.stale_while_revalidate_s,
            stale_if_error_s=settings.stale_if_error_s,
        )
        parameters = settings.query_parameters
        passed = frozenset(name.lower().encode() for name in settings.request_fields)
        return cls(settings, terms, None if "*" in parameters else frozenset(parameters), passed)

    @property
    def name(self) -> str:
        return self.settings.name

    def asked(self, headers: Mapping[bytes, bytes]) -> Fields:
        """What of a client's request counts: nothing else selects, decides or goes upstream."""
        wanted = self.passed.union(_DECIDING, (_PASSED_ALWAYS,))
        return tuple(sorted((name, value) for name, value in headers.items() if name in wanted))

    def upstream(self, asked: Iterable[tuple[bytes, bytes]]) -> Fields:
        """What of that goes upstream."""
        return tuple(field for field in asked if field[0] in self.passed or field[0] == _PASSED_ALWAYS)


def read_entry(variant: PulledVariant, mode: PurgeMode | None) -> Entry | None:
    """None for what may not be served: purged, or in a format that is not ours. What a soft purge met has to be validated."""
    stored = None if mode is PurgeMode.HARD else unpack_stored(variant.response)
    if stored is None:
        return None
    return Entry(variant, softened(stored) if mode is PurgeMode.SOFT else stored)


def read_entries(
    variants: Iterable[PulledVariant], judge: Callable[[PulledVariant], PurgeMode | None]
) -> tuple[Entry, ...]:
    """Those that may be served, or at least validated."""
    found = (read_entry(variant, judge(variant)) for variant in variants)
    return tuple(entry for entry in found if entry is not None)
