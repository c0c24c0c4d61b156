"""The `play/…` rows from what the sessions of a kill saw. Pure.

A stall is a moment at which a playing session has no media left before its end; breaking off is one too, whatever was left. Sessions that
were at the dead box are those that had a range from it in the AT_IT_S before it died.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.serve.rows import Plain, Row
from benchmarks.steer.playing.facts import ENOUGH_BUFFER_S, Ask, Session

AT_IT_S = 10.0
SOON_S = 10.0
"""What is asked of steering in so many seconds after the kill says when it knew."""
COMPLETE, STEERED = "complete", "steered"
STALLS, BROKEN_OFF, STALL_SHARE, TO_DEAD, MOVED, WRONG_ANSWER = ROWS = (
    "play/stalls",
    "play/broken-off",
    "play/stall-share",
    "play/requests-to-dead-after-s",
    "play/moved-s",
    "play/wrong-answer-s",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One kill: when, until when the box was dead, where it served (host:port), and all sessions."""

    killed_at_s: float
    back_at_s: float
    dead_hosts: frozenset[str]
    sessions: tuple[Session, ...]

    @property
    def at_it(self) -> tuple[Session, ...]:
        """Sessions that were at the box when it died, and still had something to fetch."""
        return tuple(one for one in self.sessions if any(map(self._was_at_it, one.asks)) and self._went_on(one))

    def _went_on(self, session: Session) -> bool:
        broke_off = bool(session.failure) and session.ended_at_s > self.killed_at_s
        return broke_off or any(ask.at_s >= self.killed_at_s for ask in session.asks)

    def _was_at_it(self, ask: Ask) -> bool:
        recent = self.killed_at_s - AT_IT_S <= ask.at_s < self.killed_at_s
        return recent and ask.host in self.dead_hosts and ask.ended == COMPLETE

    def is_dead(self, at_s: float) -> bool:
        return self.killed_at_s <= at_s < self.back_at_s


def rows(outcome: Outcome) -> list[Row]:
    """Raises ValueError when the kill hit nobody, or nobody had an answer of steering afterwards: there is nothing to say then."""
    if not outcome.at_it:
        raise ValueError("no session was at the box that was killed")
    made = (stalls, broken_off, stall_share, requests_to_dead, moved, wrong_answer)
    return [row_of(outcome) for row_of in made]


def stalls(outcome: Outcome) -> Row:
    """Each one from the kill on, whatever it comes from."""
    levels = [level_at(one, outcome.killed_at_s) for one in outcome.sessions]
    buffers = [level[0] for level in levels if level is not None]
    since = sum(_stalls_since(outcome.killed_at_s, one) for one in outcome.sessions)
    started_s = [one.startup_s for one in outcome.sessions if one.startup_s > 0]
    facts = {
        "sessions": float(len(outcome.sessions)),
        "at the box": float(len(outcome.at_it)),
        "playing at the kill": float(len(buffers)),
        "with 20 s of buffer then": float(sum(buffer >= ENOUGH_BUFFER_S for buffer in buffers)),
        "least buffer then s": min(buffers, default=0.0),
        "stalls before": float(sum(_stalls_before(outcome.killed_at_s, one) for one in outcome.sessions)),
        "started": float(len(started_s)),
        "start p50 s": _quantile(started_s, 0.5),
        "start p95 s": _quantile(started_s, 0.95),
        "MB checked": sum(one.checked_bytes for one in outcome.sessions) / 1e6,
    }
    return _row(STALLS, "stalls of all sessions from the kill of an appliance to their end", since, facts)


def broken_off(outcome: Outcome) -> Row:
    """Before the kill too: what is not there any more when it comes cannot stall."""
    failed = [one for one in outcome.sessions if one.failure]
    facts = {
        "from the kill on": float(sum(one.ended_at_s > outcome.killed_at_s for one in failed)),
        "without a picture": float(sum(one.startup_s == 0 for one in failed)),
    }
    return _row(BROKEN_OFF, "sessions that did not come to their end", len(failed), facts)


def stall_share(outcome: Outcome) -> Row:
    stalled_s = sum(one.stalled_s for one in outcome.sessions)
    watched_s = sum(one.watched_s for one in outcome.sessions)
    facts = {"stalled s": stalled_s, "watched s": watched_s}
    return _row(STALL_SHARE, "stalled time / watched time, whole plays", stalled_s / watched_s, facts)


def requests_to_dead(outcome: Outcome) -> Row:
    asked = [
        [ask for ask in one.asks if ask.host in outcome.dead_hosts and outcome.is_dead(ask.at_s)]
        for one in outcome.sessions
    ]
    last = max((ask.at_s for asks in asked for ask in asks), default=outcome.killed_at_s)
    again = [ask for one in outcome.sessions for ask in one.asks if ask.at_s >= outcome.back_at_s]
    facts = {
        "requests": float(sum(map(len, asked))),
        "most by one session": float(max(map(len, asked), default=0)),
        "dead s": outcome.back_at_s - outcome.killed_at_s,
        "share of requests that it has after its return": _share(again, lambda ask: ask.host in outcome.dead_hosts),
    }
    return _row(
        TO_DEAD,
        "s from the kill to the last request of a session to the dead box",
        last - outcome.killed_at_s,
        facts,
    )


def moved(outcome: Outcome) -> Row:
    """Raises ValueError when a session at the box got nothing more from anywhere."""
    took = [_moved_after_s(outcome, one) for one in outcome.at_it]
    facts = {"sessions": float(len(took)), "p50 s": _quantile(took, 0.5), "p95 s": _quantile(took, 0.95)}
    return _row(MOVED, "s from the kill until the last session at the box had a range from elsewhere", max(took), facts)


def wrong_answer(outcome: Outcome) -> Row:
    """Raises ValueError when nobody had an answer while the box was dead. Where none came a session keeps its order: that is no answer."""
    said = [said for one in outcome.sessions for said in one.said if outcome.is_dead(said.at_s)]
    answered = [one for one in said if one.heard == STEERED]
    if not answered:
        raise ValueError(f"none of {len(said)} questions to steering was answered while the box was dead")
    wrong = [one for one in answered if outcome.dead_hosts & set(one.hosts)]
    last = max((one.at_s + one.took_s for one in wrong), default=outcome.killed_at_s)
    facts = {
        "answers while dead": float(len(answered)),
        "first answer after s": min(one.at_s + one.took_s for one in answered) - outcome.killed_at_s,
        "of them asked in the first 10 s": float(sum(one.at_s < outcome.killed_at_s + SOON_S for one in answered)),
        "wrong ones": float(len(wrong)),
        "not answered": float(len(said) - len(answered)),
        "answer p50 ms": _quantile([one.took_s * 1000 for one in answered], 0.5),
        "answer p99 ms": _quantile([one.took_s * 1000 for one in answered], 0.99),
    }
    return _row(
        WRONG_ANSWER,
        "s from the kill to the last steering manifest that puts the dead box first for a track",
        last - outcome.killed_at_s,
        facts,
    )


def level_at(session: Session, at_s: float) -> tuple[float, int] | None:
    """(media seconds ahead, stalls so far) as last seen before an instant; None for a session that did not play then."""
    seen = [level for level in session.levels if level.at_s <= at_s]
    if not seen or session.ended_at_s <= at_s:
        return None
    return max(0.0, seen[-1].buffer_s - (at_s - seen[-1].at_s)), seen[-1].stalls


def _stalls_before(at_s: float, session: Session) -> int:
    if session.ended_at_s <= at_s:
        return session.stalls
    level = level_at(session, at_s)
    return 0 if level is None else level[1]


def _stalls_since(at_s: float, session: Session) -> int:
    """One that broke off stopped at least once, with media ahead or without."""
    broke_off = bool(session.failure) and session.ended_at_s > at_s
    return max(session.stalls - _stalls_before(at_s, session), int(broke_off))


def _moved_after_s(outcome: Outcome, session: Session) -> float:
    ends = [
        ask.at_s + ask.took_s
        for ask in session.asks
        if ask.at_s >= outcome.killed_at_s and ask.host not in outcome.dead_hosts and ask.ended == COMPLETE
    ]
    if not ends:
        raise ValueError(f"session {session.number} got nothing after the kill: {session.failure or 'no failure said'}")
    return min(ends) - outcome.killed_at_s


def _row(name: str, unit: str, value: float, facts: dict[str, float]) -> Row:
    return Row(name, unit, value, None, None, (Plain(value, facts),))


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _share(asks: Iterable[Ask], holds: Callable[[Ask], bool]) -> float:
    found = [holds(ask) for ask in asks]
    return sum(found) / len(found) if found else 0.0
