"""What goes wrong at the origin, by what can be done about it."""

from __future__ import annotations

from chassis.errors import ChassisError, Retry, Source
from origin.probe import Rejected


class OriginError(ChassisError):
    """Base of what the origin raises on purpose."""


class SourceRejected(OriginError):
    """The source never becomes a title as it is. The uploader must send another."""

    source = Source.CLIENT
    retry = Retry.NO
    status = 422

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.words)
        self.rejected = rejected


class StageFailed(OriginError):
    """A stage could not do its work this time: full disk, killed encoder, another service away. Trying again may help."""

    retry = Retry.YES
    status = 503

    def __init__(self, detail: str, source: Source = Source.OURS) -> None:
        super().__init__(detail)
        self.source = source


class LeaseLost(OriginError):
    """Somebody else has the job now (this worker was silent too long, or the title was withdrawn): drop the work."""

    retry = Retry.NO
    status = 409
