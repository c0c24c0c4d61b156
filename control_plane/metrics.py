"""What the control plane counts."""

from __future__ import annotations

from chassis.metrics import Metrics
from contracts.plans import PlanCause
from control_plane.enrolment import CodeRefusal
from control_plane.health import SuspectReason
from control_plane.ingestion import Arrival

PLAN_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0)


class ControlPlaneMetrics:
    """Made once by `app`, handed down."""

    def __init__(self, metrics: Metrics) -> None:
        self.reports = metrics.reasons(
            "lowtide_control_plane_reports_total", "Reports of appliances, by what they were", Arrival, "arrival"
        )
        self.suspects = metrics.reasons(
            "lowtide_control_plane_suspects_total", "Times an appliance became suspect, by reason", SuspectReason
        )
        self.suspects_now = metrics.gauge("lowtide_control_plane_suspects_now", "Appliances that are suspect now")
        self.streams = metrics.gauge(
            "lowtide_control_plane_heartbeat_streams", "Heartbeat streams of appliances that are open now"
        )
        self.enrolments = metrics.counter(
            "lowtide_control_plane_enrolments_total", "Certificates issued, by kind", ("kind",)
        )
        self.refused_codes = metrics.reasons(
            "lowtide_control_plane_refused_codes_total", "Enrolments refused for their code, by reason", CodeRefusal
        )
        self.changes = metrics.gauge("lowtide_control_plane_change_number", "Number of the last change of the record")
        self.readers = metrics.gauge("lowtide_control_plane_change_readers", "Open readers of the change stream")
        self.dropped_readers = metrics.counter(
            "lowtide_control_plane_change_readers_dropped_total", "Readers of the change stream dropped for being slow"
        )
        self.triggers = metrics.gauge("lowtide_control_plane_trigger_number", "Number of the last trigger (purges)")
        self.behind = metrics.gauge(
            "lowtide_control_plane_behind_now", "Appliances that have not applied a trigger in time and are sent nobody"
        )
        self.plan_seconds = metrics.histogram(
            "lowtide_control_plane_plan_seconds", "Time to make a plan, from snapshot to stored", buckets=PLAN_BUCKETS_S
        )
        self.plans = metrics.reasons(
            "lowtide_control_plane_plans_total",
            "Plans made, by cause: nightly, asked for, anew for a site",
            PlanCause,
            "cause",
        )
        self.prepositions = metrics.gauge(
            "lowtide_control_plane_prepositions_active", "Orders out of cycle that are not over"
        )
        self.pins = metrics.gauge("lowtide_control_plane_pins", "Pins and blocks of operators in the record")
        self.nightly_reports = metrics.counter(
            "lowtide_control_plane_nightly_reports_total", "Nightly reports of sites that were made"
        )
        self.plan_number = metrics.gauge("lowtide_control_plane_plan_number", "Number of the plan in force")
