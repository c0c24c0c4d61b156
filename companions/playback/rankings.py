"""Where from, asked of steering; while steering is away, what it said last for the same network and rendition; else the origin.

Plays of one title ask for what their plans and devices allow: what was said is kept by rendition, and a play for which none is kept begins at the
origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from companions.bounded import Bounded
from companions.playback.metrics import PlaybackMetrics, RankingSource
from companions.playback.pathways import least_bps, network_of, rank_files
from contracts.catalogue import Rendition
from contracts.pathways import MOST_APPLIANCES
from contracts.world import GroupRanking, Ranking, RankRequest

_LOG = get_logger("companions.playback")


@dataclass(frozen=True, slots=True)
class Ranked:
    """`ranking` is None when nothing is known but the origin."""

    ranking: Ranking | None
    source: RankingSource


class Rankings:
    def __init__(
        self,
        steering: ServiceClient,
        metrics: PlaybackMetrics,
        clock: Clock,
        *,
        scheme: str,
        pause_s: float,
        limit: int,
    ) -> None:
        self._steering = steering
        self._metrics = metrics
        self._clock = clock
        self._scheme = scheme
        self._pause_s = pause_s
        self._last: Bounded[tuple[str, str], Ranking] = Bounded(limit)
        self._failed_s: float | None = None

    async def rank(
        self, client: str, title_id: str, renditions: Sequence[Rendition], play: str = "", until: float = 0.0
    ) -> Ranked:
        """Never raises for a steering that fails: a play goes on with less. `play` is the session that it is for, `until` its end."""
        ranked = await self._ranked(client, title_id, renditions, play, until)
        self._metrics.rankings.labels(ranked.source.value).inc()
        return ranked

    async def _ranked(
        self, client: str, title_id: str, renditions: Sequence[Rendition], play: str, until: float
    ) -> Ranked:
        known_as = (network_of(client), title_id)
        files, needs_bps = rank_files(title_id, renditions), least_bps(renditions)
        request = RankRequest(client, files, MOST_APPLIANCES, self._scheme, play, until, needs_bps)
        if not self._paused():
            try:
                ranking = await self._steering.post("/v1/rank", request, Ranking)
            except ServiceError as error:
                self._failed_s = self._clock.monotonic_s()
                _LOG.warning("steering-not-answering", detail=str(error), title=title_id)
            else:
                self._failed_s = None
                self._remember(known_as, ranking)
                return Ranked(ranking, RankingSource.STEERING)
        last = self._remembered(known_as, request)
        return Ranked(last, RankingSource.LAST_KNOWN if last else RankingSource.ORIGIN_ONLY)

    def _remember(self, known_as: tuple[str, str], ranking: Ranking) -> None:
        """The answer, with those of renditions that this play did not ask for as they were."""
        before = self._last.get(known_as)
        groups = {**_by_name(before.groups if before else ()), **_by_name(ranking.groups)}
        self._last.put(known_as, replace(ranking, groups=tuple(groups.values()), steering=""))

    def _remembered(self, known_as: tuple[str, str], request: RankRequest) -> Ranking | None:
        """What was said of the renditions that are asked for, in their order; None when nothing was."""
        last = self._last.get(known_as)
        known = _by_name(last.groups) if last else {}
        groups = tuple(known[name] for name in dict.fromkeys(file.group for file in request.files) if name in known)
        return replace(last, groups=groups) if last and groups else None

    def _paused(self) -> bool:
        return self._failed_s is not None and self._clock.monotonic_s() - self._failed_s < self._pause_s


def _by_name(groups: Sequence[GroupRanking]) -> dict[str, GroupRanking]:
    return {group.group: group for group in groups}
