"""What the origin counts, beside what every service counts."""

from __future__ import annotations

from chassis.metrics import Metrics
from origin.media import Caller
from origin.probe import Rejection
from origin.states import Stage
from origin.uploads import UploadOutcome

STAGE_BUCKETS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class MediaMetrics:
    """Counters of the media listeners."""

    def __init__(self, metrics: Metrics) -> None:
        self.bytes = metrics.counter("lowtide_origin_media_bytes_total", "Media bytes sent, by caller", ("caller",))
        self.requests = metrics.counter(
            "lowtide_origin_media_requests_total", "Media requests answered, by caller and status", ("caller", "status")
        )
        self.broken_off = metrics.counter(
            "lowtide_origin_media_broken_total",
            "Media answers broken off because the object store gave other bytes than promised, by caller",
            ("caller",),
        )
        self.log_lost = metrics.counter(
            "lowtide_origin_access_log_lost_total", "Lines of the access log that were not written"
        )
        for caller in Caller:
            self.bytes.labels(caller.value)
            self.broken_off.labels(caller.value)

    def answered(self, caller: Caller, status: int) -> None:
        self.requests.labels(caller.value, str(status)).inc()

    def sent(self, caller: Caller, count: int) -> None:
        self.bytes.labels(caller.value).inc(count)

    def broken(self, caller: Caller) -> None:
        self.broken_off.labels(caller.value).inc()


class UploadMetrics:
    """Counters of the ingest API."""

    def __init__(self, metrics: Metrics) -> None:
        self.bytes = metrics.counter("lowtide_origin_upload_bytes_total", "Source bytes received")
        self.uploads = metrics.reasons(
            "lowtide_origin_uploads_total", "Uploads ended, by outcome", UploadOutcome, "outcome"
        )


class WorkMetrics:
    """Counters of a worker."""

    def __init__(self, metrics: Metrics) -> None:
        self.stages = metrics.counter(
            "lowtide_origin_stages_total", "Stages ended, by stage and outcome", ("stage", "outcome")
        )
        self.seconds = metrics.histogram(
            "lowtide_origin_stage_seconds", "Time a finished stage took, by stage", ("stage",), STAGE_BUCKETS_S
        )
        self.running = metrics.gauge("lowtide_origin_jobs_running", "Jobs this worker holds now")
        self.rejected = metrics.reasons("lowtide_origin_rejected_total", "Titles rejected, by reason", Rejection)
        for stage in Stage:
            self.stages.labels(stage.value, "done")
