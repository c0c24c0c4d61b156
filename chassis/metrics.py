"""Metrics of one process: a registry of its own, the exposition, and what every HTTP service counts.

Every metric of ours starts with `lowtide_` and has a help text; `process_*` and `python_*` keep the names that every
dashboard knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

PREFIX = "lowtide_"
CONTENT_TYPE = CONTENT_TYPE_LATEST
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The registry of one process. Make one at the composition root and hand it down."""

    def __init__(self, service: str, *, process: bool = True) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self.http_requests = self.counter(
            "lowtide_http_requests_total",
            "HTTP requests answered, by listener, method, route template and status",
            ("listener", "method", "route", "status"),
        )
        self.http_seconds = self.histogram(
            "lowtide_http_request_seconds",
            "Time from request head to end of answer, by listener, method and route template",
            ("listener", "method", "route"),
        )
        self.http_in_flight = self.gauge(
            "lowtide_http_requests_in_flight", "HTTP requests being handled now, by listener", ("listener",)
        )
        self.unhandled = self.counter(
            "lowtide_unhandled_errors_total",
            "Errors nobody expected, answered as 500 and logged with traceback, by route template",
            ("route",),
        )
        self.task_deaths = self.counter(
            "lowtide_background_deaths_total", "Background tasks that died, by task", ("task",)
        )

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(_checked(name), text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(_checked(name), text, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = DURATION_BUCKETS_S,
    ) -> Histogram:
        return Histogram(_checked(name), text, labels, buckets=tuple(buckets), registry=self.registry)

    def reasons(self, name: str, text: str, reasons: type[Enum], label: str = "reason") -> Counter:
        """A counter with one label whose values are the words of a closed Enum, all present from the start at 0."""
        made = self.counter(name, text, (label,))
        for reason in reasons:
            made.labels(word_of(reason))
        return made

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def word_of(reason: Enum) -> str:
    """The log word of a reason: its `word`, else its value."""
    return str(getattr(reason, "word", reason.value))


def _checked(name: str) -> str:
    if not name.startswith(PREFIX):
        raise ValueError(f"metric {name!r} does not start with {PREFIX!r}")
    return name
