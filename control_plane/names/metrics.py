"""What the names count."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.metrics import Metrics
from contracts.names import NameState, NameTrouble, RequestRefusal


class NameMetrics:
    """Made once by `app`, handed down."""

    def __init__(self, metrics: Metrics) -> None:
        self.names = metrics.gauge("lowtide_control_plane_names", "Names of appliances, by their state", ("state",))
        self.issued = metrics.counter("lowtide_control_plane_certificates_issued_total", "Public certificates issued")
        self.failed = metrics.reasons(
            "lowtide_control_plane_certificate_failures_total", "Orders that failed, by why", NameTrouble
        )
        self.refused = metrics.reasons(
            "lowtide_control_plane_name_requests_refused_total", "Signing requests not taken, by why", RequestRefusal
        )
        self.in_trouble = metrics.gauge(
            "lowtide_control_plane_names_in_trouble", "Names whose last order failed or whose certificate has expired"
        )
        self.expires = metrics.gauge(
            "lowtide_control_plane_name_expires_seconds",
            "End of the first public certificate to expire, in seconds since the epoch; 0 without any",
        )
        self.zone_failing = metrics.gauge(
            "lowtide_control_plane_zone_unpublished", "1 while the zone cannot be published as it should be"
        )

    def show(self, states: Mapping[NameState, int], in_trouble: int, expires_at: float, *, zone_failing: bool) -> None:
        for state in NameState:
            self.names.labels(state.value).set(states.get(state, 0))
        self.in_trouble.set(in_trouble)
        self.expires.set(expires_at)
        self.zone_failing.set(zone_failing)
