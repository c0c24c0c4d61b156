"""What playback counts."""

from __future__ import annotations

from enum import Enum

from chassis.metrics import Metrics


class RankingSource(Enum):
    """Where a play's ranking came from (log word = value)."""

    STEERING = "steering"
    LAST_KNOWN = "last-known"
    """Steering did not answer: the last ranking for this network and title."""
    ORIGIN_ONLY = "origin-only"
    """Steering did not answer and nothing was known."""


class TitleSource(Enum):
    """Where a title's details came from (log word = value)."""

    REMEMBERED = "remembered"
    CATALOG = "catalog"
    LAST_KNOWN = "last-known"
    """The catalog did not answer."""


class ManifestSource(Enum):
    """What a session's manifest was made from (log word = value): the packaged document, or else why not."""

    PACKAGED = "packaged"
    NONE_PUBLISHED = "none-published"
    """The title was published without manifests."""
    UNREACHABLE = "origin-not-answering"
    OTHER_BYTES = "not-the-published-bytes"
    MALFORMED = "malformed"
    """It cannot be read, or is not of this title."""


class PlaybackMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self.plays = metrics.counter(
            "lowtide_playback_plays_total", "Requests to play, by outcome: started, or the problem's code", ("outcome",)
        )
        self.rankings = metrics.reasons(
            "lowtide_playback_rankings_total", "Plays by where their ranking came from", RankingSource, "source"
        )
        self.titles = metrics.reasons(
            "lowtide_playback_titles_total", "Plays by where the title's details came from", TitleSource, "source"
        )
        self.manifests = metrics.reasons(
            "lowtide_playback_manifests_total",
            "Manifests by what they were made from: the packaged document, or why from the catalog's facts",
            ManifestSource,
            "source",
        )
        self.beats = metrics.counter(
            "lowtide_playback_beats_total", "Heartbeats of players, by answer: go-on, or why to stop", ("answer",)
        )
        self.renewals = metrics.counter(
            "lowtide_playback_renewals_total",
            "Renewals of media tokens, by outcome: renewed, or the problem's code",
            ("outcome",),
        )
        self.streams = metrics.gauge("lowtide_playback_streams", "Live streams, counted every few seconds")
        self.key_registered = metrics.gauge(
            "lowtide_playback_key_registered", "1 when the control plane knows this service's media key, else 0"
        )
        self.log_dropped = metrics.counter(
            "lowtide_playback_log_dropped_total", "Lines of the playback log that could not be written"
        )
