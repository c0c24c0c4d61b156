"""Which worker serves which slot, and who is started when. Pure: events and `now` go in, actions come out.

The table, per slot:

| phase | event | then |
|---|---|---|
| starting | reports ready | ready: the sibling that helped out lets go |
| starting, or ready for less than `EARLY_S` | dies, first or second time in a row | starting at once |
| the same | dies for the third time or more, another slot lives | resting: a sibling accepts for it, the next try after `RETRY_S` |
| the same | dies for the third time or more, no other slot lives | pausing for a moment, then starting: the last is never given up |
| ready | dies later | starting at once; the row of deaths begins anew |
| resting, pausing | its time has come | starting |

While a slot starts, what connects waits in its accept queue, which belongs to the supervisor's socket and outlives every worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EARLY_S = 0.5
DEATHS_TO_REST = 3
RETRY_S = 10.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0


class SlotPhase(Enum):
    """The value is the log word."""

    STARTING = "starting"
    READY = "ready"
    RESTING = "resting"
    PAUSING = "pausing"


@dataclass(frozen=True, slots=True)
class Start:
    """Exec a worker for this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Tell the worker of slot `by` to accept for `slot`, too."""

    by: int
    slot: int


@dataclass(frozen=True, slots=True)
class Release:
    """Tell the worker of slot `by` to stop accepting for `slot`."""

    by: int
    slot: int


Action = Start | Adopt | Release


@dataclass(slots=True)
class Slot:
    phase: SlotPhase = SlotPhase.STARTING
    early_deaths: int = 0
    deaths: int = 0
    ready_at: float = 0.0
    try_at: float = 0.0
    helper: int | None = None
    """The slot whose worker accepts for this one."""


class Slots:
    """The table of one supervisor."""

    def __init__(self, count: int) -> None:
        self.slots = [Slot() for _ in range(count)]

    def start(self) -> list[Action]:
        return [Start(number) for number in range(len(self.slots))]

    def ready(self, number: int, now: float) -> list[Action]:
        """The slot's worker serves. It also takes the slots that nobody helps."""
        slot = self.slots[number]
        slot.phase, slot.ready_at = SlotPhase.READY, now
        actions: list[Action] = []
        if slot.helper is not None:
            actions.append(Release(slot.helper, number))
            slot.helper = None
        return actions + self._help()

    def died(self, number: int, now: float) -> list[Action]:
        """The slot's worker is gone, for whatever reason."""
        slot = self.slots[number]
        early = slot.phase is not SlotPhase.READY or now - slot.ready_at < EARLY_S
        slot.early_deaths = slot.early_deaths + 1 if early else 0
        slot.deaths += 1
        for other in self.slots:
            if other.helper == number:
                other.helper = None
        if slot.early_deaths < DEATHS_TO_REST:
            slot.phase = SlotPhase.STARTING
            return [Start(number), *self._help()]
        if self._another_lives(number):
            slot.phase, slot.try_at = SlotPhase.RESTING, now + RETRY_S
            return self._help()
        pause = FIRST_PAUSE_S * 2.0 ** min(slot.early_deaths - DEATHS_TO_REST, 8)
        slot.phase, slot.try_at = SlotPhase.PAUSING, now + min(pause, LONGEST_PAUSE_S)
        return []

    def tick(self, now: float) -> list[Action]:
        """Start what has waited long enough. Call it at least every `FIRST_PAUSE_S`."""
        actions: list[Action] = []
        for number, slot in enumerate(self.slots):
            if slot.phase in (SlotPhase.RESTING, SlotPhase.PAUSING) and now >= slot.try_at:
                slot.phase = SlotPhase.STARTING
                actions.append(Start(number))
        return actions

    @property
    def ready_count(self) -> int:
        return sum(slot.phase is SlotPhase.READY for slot in self.slots)

    def sentence(self) -> str:
        """One line for `/readyz`."""
        words = [f"{self.ready_count} of {len(self.slots)} workers serve"]
        for number, slot in enumerate(self.slots):
            if slot.phase is not SlotPhase.READY:
                helped = "" if slot.helper is None else f", its players are served by worker {slot.helper}"
                words.append(f"worker {number} is {slot.phase.value} after {slot.early_deaths} early deaths{helped}")
        return "; ".join(words)

    def _another_lives(self, number: int) -> bool:
        """True when another slot serves, or has a fair chance to."""
        return any(
            other.phase is SlotPhase.READY
            or (other.phase is SlotPhase.STARTING and other.early_deaths < DEATHS_TO_REST)
            for position, other in enumerate(self.slots)
            if position != number
        )

    def _help(self) -> list[Action]:
        """Give every resting slot (or one that is tried again) that nobody serves a sibling that is ready."""
        actions: list[Action] = []
        ready = [number for number, slot in enumerate(self.slots) if slot.phase is SlotPhase.READY]
        if not ready:
            return actions
        for number, slot in enumerate(self.slots):
            tried_again = slot.phase is SlotPhase.STARTING and slot.early_deaths >= DEATHS_TO_REST
            if (slot.phase is SlotPhase.RESTING or tried_again) and slot.helper is None:
                slot.helper = ready[number % len(ready)]
                actions.append(Adopt(slot.helper, number))
        return actions


def keeper_pause_s(deaths_in_a_row: int) -> float:
    """How long to wait before the keeper is started again: at once, then doubling from 0.1 s to 5 s."""
    return 0.0 if deaths_in_a_row <= 1 else min(5.0, 0.1 * 2.0 ** (deaths_in_a_row - 2))
