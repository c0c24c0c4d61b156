"""Titles as the catalog tells them, remembered so that known ones play on while the catalog is away.

The licence comes with the details, so that region and dates are judged here too: being remembered opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.errors import ProblemError, ServiceError, Source
from chassis.logs import get_logger
from companions.bounded import Bounded
from companions.playback.metrics import PlaybackMetrics, TitleSource
from contracts.catalogue import TitleDetails
from contracts.problems import ProblemCode
from contracts.urls import is_name

RETRY_AFTER_S = 5.0
_LOG = get_logger("companions.playback")


@dataclass(frozen=True, slots=True)
class _Heard:
    details: TitleDetails
    at_s: float


class TitleBook:
    def __init__(
        self,
        catalog: ServiceClient,
        metrics: PlaybackMetrics,
        clock: Clock,
        *,
        fresh_s: float,
        pause_s: float,
        limit: int,
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._clock = clock
        self._fresh_s = fresh_s
        self._pause_s = pause_s
        self._known: Bounded[str, _Heard] = Bounded(limit)
        self._failed_s: float | None = None

    async def details(self, title_id: str, region: str) -> TitleDetails:
        """All about a title. Raises ProblemError: NOT_FOUND, NOT_IN_REGION, UNAVAILABLE (unknown, and nobody to ask)."""
        if not is_name(title_id):
            raise _unknown(title_id)
        known = self._known.get(title_id)
        now_s = self._clock.monotonic_s()
        if known is not None and now_s - known.at_s < self._fresh_s:
            return self._given(known.details, TitleSource.REMEMBERED)
        paused = self._failed_s is not None and now_s - self._failed_s < self._pause_s
        if not paused:
            try:
                return self._given(await self._ask(title_id, region), TitleSource.CATALOG)
            except ServiceError as error:
                self._refuse(error, title_id, region)
        if known is None:
            words = "the catalog does not answer and this title is not known here yet"
            raise ProblemError(ProblemCode.UNAVAILABLE, words, retry_after_s=RETRY_AFTER_S)
        return self._given(known.details, TitleSource.LAST_KNOWN)

    async def _ask(self, title_id: str, region: str) -> TitleDetails:
        details = await self._catalog.get(f"/v1/titles/{title_id}", TitleDetails, query={"region": region})
        self._known.put(title_id, _Heard(details, self._clock.monotonic_s()))
        self._failed_s = None
        return details

    def _refuse(self, error: ServiceError, title_id: str, region: str) -> None:
        """Passes on what the catalog refused; notes when it did not answer."""
        if error.source is Source.CLIENT:
            if error.status == 404:
                self._known.drop(title_id)
                raise _unknown(title_id) from error
            if error.code is ProblemCode.NOT_IN_REGION:
                detail = error.problem.detail if error.problem else ""
                raise ProblemError(ProblemCode.NOT_IN_REGION, detail) from error
        self._failed_s = self._clock.monotonic_s()
        _LOG.warning("catalog-not-answering", detail=str(error), title=title_id, region=region)

    def _given(self, details: TitleDetails, source: TitleSource) -> TitleDetails:
        self._metrics.titles.labels(source.value).inc()
        return details


def _unknown(title_id: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"there is no title {title_id[:80]!r}")
