"""How an appliance is: heartbeats make and unmake suspects, reports make the score (DESIGN §6).

Laws
- A broken stream makes a suspect at once; so do MISSED_BEATS beats that did not come (each a second late, plus a small
  allowance for a late packet): known at most 4.5 s after the last beat.
- A suspect is believed again after BEATS_TO_RETURN beats on a stream that stays open.
- What a beat says of serving and shedding holds at once; the appliance has its own hysteresis.
- A score falls at once and rises only when two reports in a row say so; changes below SCORE_STEP are not told.
- After a start of the control plane nobody has beaten yet: what was believed before stands for STARTUP_GRACE_S.

A Pulse is immutable; each function gives the next one. Instants are monotonic seconds. Presuming that the monitoring
itself is broken (many suspects at once) is the business of who reads this (steering), not of who measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from contracts.reports import Heartbeat
from contracts.world import Health

BEAT_S = 1.0
MISSED_BEATS = 4
LATE_S = 0.2
SILENCE_S = MISSED_BEATS * BEAT_S + LATE_S
BEATS_TO_RETURN = 2
STARTUP_GRACE_S = 15.0
SCORE_STEP = 0.05
LOAD_STEP = 0.05
BEHIND = "behind-on-purges"
"""Among the reasons of an appliance that has not applied a trigger in time."""


class SuspectReason(Enum):
    """Why an appliance is suspect (log word = value)."""

    NEVER_HEARD = "never-heard"
    STREAM_BROKEN = "stream-broken"
    BEATS_MISSED = "beats-missed"
    SILENT_SINCE_START = "silent-since-start"


@dataclass(frozen=True, slots=True)
class Pulse:
    """What is known of one appliance's health. `silent_at_s` is when silence makes it suspect; None while it is one."""

    suspect: SuspectReason | None = SuspectReason.NEVER_HEARD
    connected: bool = False
    silent_at_s: float | None = None
    silence_means: SuspectReason = SuspectReason.BEATS_MISSED
    good_beats: int = 0
    serving: bool = False
    load: float = 0.0
    score: float = 0.0
    rising: bool = False
    reasons: tuple[str, ...] = ()
    shedding: bool = False
    behind: bool = False
    """It has not applied a purge in time: whatever its beats say, it is sent nobody."""

    def health(self, appliance_id: str) -> Health:
        """As others are told."""
        reasons = self.reasons if self.suspect is None else (self.suspect.value, *self.reasons)
        if self.behind:
            reasons = (BEHIND, *reasons)
        serving = self.serving and not self.behind
        load = round(self.load, 3)
        return Health(appliance_id, self.score, self.suspect is not None, serving, load, reasons, self.shedding)


def believed(score: float, reasons: tuple[str, ...], now_s: float) -> Pulse:
    """The pulse at a start of the control plane of an appliance that was not suspect before."""
    return Pulse(
        suspect=None,
        silent_at_s=now_s + STARTUP_GRACE_S,
        silence_means=SuspectReason.SILENT_SINCE_START,
        serving=True,
        score=score,
        reasons=reasons,
    )


def opened(pulse: Pulse) -> Pulse:
    """A heartbeat stream was opened. Nothing is believed before beats come."""
    return replace(pulse, connected=True, good_beats=0)


def beat(pulse: Pulse, message: Heartbeat, now_s: float) -> Pulse:
    good = pulse.good_beats + 1
    suspect = pulse.suspect if good < BEATS_TO_RETURN else None
    silent_at_s = now_s + SILENCE_S if suspect is None else None
    load = message.load if _tells(pulse, message, suspect) else pulse.load
    return replace(
        pulse,
        suspect=suspect,
        connected=True,
        silent_at_s=silent_at_s,
        silence_means=SuspectReason.BEATS_MISSED,
        good_beats=min(good, BEATS_TO_RETURN),
        serving=message.serving,
        load=load,
        shedding=message.shedding,
    )


def broken(pulse: Pulse) -> Pulse:
    """The heartbeat stream ended, whoever ended it."""
    suspect = pulse.suspect or SuspectReason.STREAM_BROKEN
    return replace(pulse, suspect=suspect, connected=False, silent_at_s=None, good_beats=0)


def waited(pulse: Pulse, now_s: float) -> Pulse:
    """Time passed: silence beyond the limit makes a suspect."""
    if pulse.silent_at_s is None or now_s < pulse.silent_at_s:
        return pulse
    return replace(pulse, suspect=pulse.silence_means, silent_at_s=None, good_beats=0)


def reported(pulse: Pulse, score: float, reasons: tuple[str, ...]) -> Pulse:
    """A report came: the score with hysteresis, the reasons as they are."""
    score = round(min(1.0, max(0.0, score)), 3)
    if score <= pulse.score:
        fell = pulse.score - score >= SCORE_STEP or score == 0.0
        return replace(pulse, score=score if fell else pulse.score, rising=False, reasons=reasons)
    if score - pulse.score < SCORE_STEP and score < 1.0:
        return replace(pulse, rising=False, reasons=reasons)
    first = pulse.score == 0.0 and not pulse.rising and not pulse.reasons
    if pulse.rising or first:
        return replace(pulse, score=score, rising=False, reasons=reasons)
    return replace(pulse, rising=True, reasons=reasons)


def _tells(pulse: Pulse, message: Heartbeat, suspect: SuspectReason | None) -> bool:
    """True when the load moved enough to be told, or everything about the appliance changes anyway."""
    return abs(message.load - pulse.load) >= LOAD_STEP or suspect is not pulse.suspect or message.load == 0.0
