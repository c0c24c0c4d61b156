"""The way of a title through the origin, as a table. Pure; diagrams are drawn from it.

Each state but the resting ones has exactly one stage that leads on. A stage may be run again at any time (idempotent): its
result counts only when the state is moved, once, by the worker that holds the lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.ingest import TitleState


class Stage(Enum):
    """What a worker does (log word = value)."""

    PROBE = "probe"
    CHUNK = "chunk"
    ENCODE = "encode"
    PACKAGE = "package"
    CHECK = "check"
    PUBLISH = "publish"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Step:
    """The stage that leads on, where to (None: the title is gone), and its share of the whole way."""

    stage: Stage
    to: TitleState | None
    weight: float
    patient: bool = False
    """Waits for other services: is tried again for ever, never rejected for failing."""


STEPS: dict[TitleState, Step] = {
    TitleState.UPLOADED: Step(Stage.PROBE, TitleState.PROBED, 0.02),
    TitleState.PROBED: Step(Stage.CHUNK, TitleState.CHUNKED, 0.01),
    TitleState.CHUNKED: Step(Stage.ENCODE, TitleState.ENCODED, 0.80),
    TitleState.ENCODED: Step(Stage.PACKAGE, TitleState.PACKAGED, 0.05),
    TitleState.PACKAGED: Step(Stage.CHECK, TitleState.CHECKED, 0.06),
    TitleState.CHECKED: Step(Stage.PUBLISH, TitleState.PUBLISHED, 0.06, patient=True),
    TitleState.WITHDRAWING: Step(Stage.WITHDRAW, None, 0.0, patient=True),
}

ACCEPTS_SOURCE = frozenset({TitleState.CREATED, TitleState.REJECTED})
RESTING = frozenset({TitleState.CREATED, TitleState.PUBLISHED, TitleState.REJECTED})
REJECTABLE = frozenset(state for state, step in STEPS.items() if not step.patient)
WITHDRAWABLE = frozenset(TitleState) - {TitleState.WITHDRAWING}


def retried(state: TitleState) -> TitleState | None:
    """Where a retry by hand begins: a rejected title is probed again, a waiting one goes on at once; None where a retry
    means nothing (nothing was uploaded, or all is done)."""
    if state is TitleState.REJECTED:
        return TitleState.UPLOADED
    return state if state in STEPS else None


def progress(state: TitleState, stage_progress: float) -> float:
    """The share of the whole way in 0..1, given the share of the running stage."""
    if state is TitleState.PUBLISHED:
        return 1.0
    if state in RESTING or state is TitleState.WITHDRAWING:
        return 0.0
    done = 0.0
    for passed, step in STEPS.items():
        if passed is state:
            return min(1.0, done + step.weight * min(1.0, max(0.0, stage_progress)))
        done += step.weight
    raise AssertionError(f"{state} is in no table")


def backoff_s(attempts: int, first_s: float, longest_s: float) -> float:
    """How long to wait after the attempt with this number (from 1) failed: doubling, bounded."""
    return float(min(longest_s, first_s * 2 ** min(attempts - 1, 30)))


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documents."""
    lines = ["stateDiagram-v2", "    [*] --> created", "    created --> uploaded: source arrived"]
    for state, step in STEPS.items():
        lines.append(f"    {state.value} --> {step.to.value if step.to else '[*]'}: {step.stage.value}")
        if state in REJECTABLE:
            lines.append(f"    {state.value} --> rejected")
    return "\n".join(
        (*lines, "    rejected --> uploaded: retry or another source", "    published --> withdrawing", "")
    )
