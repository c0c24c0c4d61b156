"""How far somebody got, and where they go on. Pure."""

from __future__ import annotations

from contracts.viewing import Position

FINISHED_SHARE = 0.95


def clamped(position_s: float, duration_s: float) -> float:
    """A player's word made possible: between 0 and the end."""
    return min(max(0.0, position_s), duration_s)


def is_finished(position_s: float, duration_s: float) -> bool:
    """True in the last twentieth: what follows are the credits."""
    return position_s >= FINISHED_SHARE * duration_s


def resume_at(known: Position | None) -> float:
    """Where the next play begins, in seconds: from the start when the title was never seen or seen to its end."""
    if known is None or known.finished:
        return 0.0
    return clamped(known.position_s, known.duration_s)
