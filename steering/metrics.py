"""What steering counts."""

from __future__ import annotations

from chassis.metrics import Metrics
from contracts.world import Why
from steering.content_steering import Steered
from steering.feed import StreamEnd
from steering.heard import Ignored
from steering.sessions import NotSteered, Refused


class SteeringMetrics:
    """All metrics of this service, registered at construction."""

    def __init__(self, metrics: Metrics) -> None:
        self.first_choices = metrics.reasons(
            "lowtide_steering_first_choices_total", "Groups ranked, by why the first choice is the first", Why, "why"
        )
        self.decision_seconds = metrics.histogram(
            "lowtide_steering_decision_seconds",
            "Time to rank all groups of one request",
            buckets=(0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.02, 0.1),
        )
        self.refused = metrics.counter("lowtide_steering_refused_total", "Requests that could not be ranked")
        self.world_number = metrics.gauge("lowtide_steering_world_number", "Number of the last change applied")
        self.appliances = metrics.gauge("lowtide_steering_appliances", "Appliances in the world")
        self.prefixes = metrics.gauge("lowtide_steering_prefixes", "Prefixes that some site announces")
        self.guesses = metrics.gauge("lowtide_steering_guessed_prefixes", "Prefixes from geo databases")
        self.quarantined = metrics.gauge(
            "lowtide_steering_quarantined_prefixes", "Lines of sites and routes that are no prefix and are left out"
        )
        self.suspects = metrics.gauge("lowtide_steering_suspects", "Appliances that are suspect")
        self.doubted = metrics.gauge(
            "lowtide_steering_doubted_suspects",
            "Suspects that stay in the answers because monitoring is presumed broken",
        )
        self.stream_live = metrics.gauge("lowtide_steering_stream_live", "1 while the change stream is live, else 0")
        self.changes = metrics.counter("lowtide_steering_changes_total", "Changes applied, ticks left out")
        self.stream_ends = metrics.reasons(
            "lowtide_steering_stream_ends_total", "Ends of the change stream, by reason", StreamEnd
        )
        self.saves = metrics.counter(
            "lowtide_steering_world_saves_total", "Saves of the last world, by outcome", ("outcome",)
        )
        self.not_steered = metrics.reasons(
            "lowtide_steering_sessions_not_steered_total",
            "Rankings without an address for content steering",
            NotSteered,
        )
        self.sessions_steered = metrics.reasons(
            "lowtide_steering_sessions_answered_total",
            "Answers of content steering, by why they say what they say",
            Steered,
        )
        self.reports_ignored = metrics.reasons(
            "lowtide_steering_session_reports_ignored_total",
            "What players said when they asked and nobody could use",
            Ignored,
        )
        self.sessions_refused = metrics.reasons(
            "lowtide_steering_sessions_refused_total", "Requests of content steering that were refused", Refused
        )
        self.decisions_lost = metrics.counter(
            "lowtide_steering_decisions_lost_total", "Lines of the steering log that were not written"
        )
