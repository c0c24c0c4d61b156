"""What the routes count."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.metrics import Metrics, word_of
from contracts.routes import SourceState
from control_plane.routes.sessions import Arrival


class RouteMetrics:
    """Made once by `app`, handed down."""

    def __init__(self, metrics: Metrics) -> None:
        self.reports = metrics.reasons(
            "lowtide_control_plane_route_reports_total", "Reports of routes, by what they were", Arrival, "arrival"
        )
        self.sources = metrics.gauge(
            "lowtide_control_plane_route_sources", "Sources of routes, by how they are", ("state",)
        )
        self.taken = metrics.gauge("lowtide_control_plane_routes", "Routes that are taken, summed over sources")
        self.quarantined = metrics.gauge(
            "lowtide_control_plane_quarantined_routes", "Routes that are quarantined, summed over sources"
        )
        self.roas = metrics.gauge("lowtide_control_plane_roas", "Entries of the validated RPKI list in use")
        self.roas_failed = metrics.gauge(
            "lowtide_control_plane_roas_unreadable",
            "1 while the RPKI list cannot be read and the last good one is used",
        )
        self._unreadable = False

    def roas_unreadable(self, unreadable: bool) -> bool:
        """True when it is so since now."""
        is_new = unreadable and not self._unreadable
        self._unreadable = unreadable
        self.roas_failed.set(unreadable)
        return is_new

    def show(self, sources: Mapping[SourceState, int], taken: int, quarantined: int) -> None:
        for state, count in sources.items():
            self.sources.labels(word_of(state)).set(count)
        self.taken.set(taken)
        self.quarantined.set(quarantined)
