"""Which worker serves which slot, and who is started and told to leave when. Pure: events and `now` go in, actions come out.

A slot has two lines in board and counters, its number and its number plus the count of slots: a line names at most one living process.
Of a slot's workers at most one is *the* worker, one its successor and one a leaver, and never more than two live. The table, per slot:

| phase | event | then |
|---|---|---|
| starting | the worker reports ready | ready: the sibling that helped out lets go |
| starting, or ready for less than `EARLY_S` | the worker dies, first or second time in a row | starting at once |
| the same | dies for the third time or more, another slot lives | resting: the next try after `RETRY_S` |
| the same | dies for the third time or more, no other slot lives | pausing for a moment, then starting: the last is never given up |
| the same | is killed from outside (SIGKILL) for the third time or more | pausing for a moment, then starting: nothing says that it cannot live |
| ready | the worker dies later | starting at once; the row of deaths begins anew |
| resting, pausing | its time has come | starting |
| not ready, after a death | another slot is ready | the same, and that sibling accepts for it until its worker is ready |
| ready, no leaver | is to be replaced | a successor is started in the free line; the worker serves on |
| with successor | the successor has been ready for `EARLY_S` | it is the worker; the earlier one is the leaver and told to retire |
| with successor | the successor dies | the worker serves on |
| with successor | the successor is not ready after `SUCCESSOR_S` | it is killed, and dies |
| with successor | the worker dies | the successor is the worker, starting or ready |
| with leaver | the leaver ends | its line is free |
| with leaver | it has not ended after `leave_s` | it is killed, and ends |

What connects to a slot without a worker waits in its accept queue, which belongs to the supervisor's socket and outlives every worker. At
the first start nobody helps: all players would end up with the worker that is ready first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EARLY_S = 0.5
DEATHS_TO_REST = 3
RETRY_S = 10.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
SUCCESSOR_S = 20.0
LEAVE_S = 120.0


class SlotPhase(Enum):
    """The value is the log word."""

    STARTING = "starting"
    READY = "ready"
    RESTING = "resting"
    PAUSING = "pausing"


@dataclass(frozen=True, slots=True)
class Start:
    """Exec a worker for this slot, in this line."""

    slot: int
    line: int


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


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell the process in `line` to stop accepting and to end when its connections have."""

    line: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End the process in `line`: it had its time."""

    line: int


Action = Start | Adopt | Release | Retire | Kill


@dataclass(slots=True)
class Successor:
    line: int
    asked_at: float
    ready_at: float | None = None


@dataclass(slots=True)
class Leaver:
    line: int
    told_at: float


@dataclass(slots=True)
class Slot:
    line: int
    """That of the worker: the one which lives, or the next one."""
    phase: SlotPhase = SlotPhase.STARTING
    early_deaths: int = 0
    deaths: int = 0
    ready_at: float = 0.0
    try_at: float = 0.0
    helper: int | None = None
    """The slot whose worker accepts for this one."""
    successor: Successor | None = None
    leaver: Leaver | None = None

    @property
    def is_replaceable(self) -> bool:
        """It serves, and a line is free for a successor."""
        return self.phase is SlotPhase.READY and self.successor is None and self.leaver is None


class Slots:
    """The table of one supervisor. Lives are named by their line."""

    def __init__(self, count: int, leave_s: float = LEAVE_S) -> None:
        """`leave_s` is how long a retired worker may take to end."""
        self.slots = [Slot(number) for number in range(count)]
        self._leave_s = leave_s

    def start(self) -> list[Action]:
        return [Start(number, slot.line) for number, slot in enumerate(self.slots)]

    def slot_of(self, line: int) -> int:
        return line % len(self.slots)

    def line_of(self, number: int) -> int:
        """The line of a slot's worker."""
        return self.slots[number].line

    def is_leaving(self, line: int) -> bool:
        """True when the end of this life is what was asked for."""
        leaver = self.slots[self.slot_of(line)].leaver
        return leaver is not None and leaver.line == line

    def ready(self, line: int, now: float) -> list[Action]:
        """A process serves. The slot's worker also takes the slots that nobody helps."""
        slot = self.slots[self.slot_of(line)]
        if slot.successor is not None and slot.successor.line == line:
            slot.successor.ready_at = now
            return []
        if slot.line != line:
            return []
        return self._serves(slot, now)

    def replace(self, number: int, now: float) -> list[Action]:
        """Start a successor for a slot that `is_replaceable`."""
        slot = self.slots[number]
        assert slot.is_replaceable, f"slot {number} has one worker, which serves"
        slot.successor = Successor(self._other_line(slot.line), now)
        return [Start(number, slot.successor.line)]

    def died(self, line: int, now: float, killed: bool = False) -> list[Action]:
        """A process is gone, for whatever reason; `killed` when somebody else ended it by SIGKILL."""
        number = self.slot_of(line)
        slot = self.slots[number]
        if slot.leaver is not None and slot.leaver.line == line:
            slot.leaver = None
            return []
        if slot.successor is not None and slot.successor.line == line:
            slot.successor = None
            return []
        if slot.line != line:
            return []
        return self._worker_died(number, slot, now, killed)

    def tick(self, now: float) -> list[Action]:
        """Do what has waited long enough. Call it at least every `FIRST_PAUSE_S`."""
        actions: list[Action] = []
        for number, slot in enumerate(self.slots):
            if slot.phase in (SlotPhase.RESTING, SlotPhase.PAUSING) and now >= slot.try_at:
                slot.phase = SlotPhase.STARTING
                actions.append(Start(number, slot.line))
            actions += self._judge_successor(number, slot, now)
            leaver = slot.leaver
            if leaver is not None and now - leaver.told_at >= self._leave_s:
                leaver.told_at = now
                actions.append(Kill(leaver.line))
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
            if slot.successor is not None:
                words.append(f"worker {number} is being replaced")
            if slot.leaver is not None:
                words.append(f"an earlier worker {number} finishes its connections")
        return "; ".join(words)

    def _judge_successor(self, number: int, slot: Slot, now: float) -> list[Action]:
        successor = slot.successor
        if successor is None:
            return []
        if successor.ready_at is None:
            if now - successor.asked_at < SUCCESSOR_S:
                return []
            successor.asked_at = now
            return [Kill(successor.line)]
        if now - successor.ready_at < EARLY_S:
            return []
        leaving = slot.line
        slot.line, slot.successor, slot.leaver = successor.line, None, Leaver(leaving, now)
        slot.early_deaths = 0
        # First the new worker takes over what the old one did for others, then the old one lets go.
        return [*self._serves(slot, successor.ready_at), *self._readopt(number), Retire(leaving)]

    def _serves(self, slot: Slot, now: float) -> list[Action]:
        slot.phase, slot.ready_at = SlotPhase.READY, now
        actions: list[Action] = []
        if slot.helper is not None:
            actions.append(Release(slot.helper, self.slot_of(slot.line)))
            slot.helper = None
        return actions + self._help()

    def _readopt(self, number: int) -> list[Action]:
        return [Adopt(number, other) for other, slot in enumerate(self.slots) if slot.helper == number]

    def _worker_died(self, number: int, slot: Slot, now: float, killed: bool) -> list[Action]:
        early = slot.phase is not SlotPhase.READY or now - slot.ready_at < EARLY_S
        slot.early_deaths = slot.early_deaths + 1 if early else 0
        slot.deaths += 1
        for other in self.slots:
            if other.helper == number:
                other.helper = None
        successor = slot.successor
        if successor is not None:
            slot.line, slot.successor, slot.phase = successor.line, None, SlotPhase.STARTING
            return self._help() if successor.ready_at is None else self._serves(slot, successor.ready_at)
        if slot.early_deaths < DEATHS_TO_REST:
            slot.phase = SlotPhase.STARTING
            return [Start(number, slot.line), *self._help()]
        if not killed and self._another_lives(number):
            slot.phase, slot.try_at = SlotPhase.RESTING, now + RETRY_S
            return self._help()
        pause = FIRST_PAUSE_S * 2.0 ** min(slot.early_deaths - DEATHS_TO_REST, 8)
        slot.phase, slot.try_at = SlotPhase.PAUSING, now + min(pause, LONGEST_PAUSE_S)
        return self._help()

    def _other_line(self, line: int) -> int:
        return (line + len(self.slots)) % (2 * len(self.slots))

    def _another_lives(self, number: int) -> bool:
        """True when another slot serves, or has a fair chance to."""
        return any(
            other.phase is SlotPhase.READY
            or (other.phase is SlotPhase.STARTING and other.early_deaths < DEATHS_TO_REST)
            for position, other in enumerate(self.slots)
            if position != number
        )

    def _help(self) -> list[Action]:
        """Give every slot whose worker died and that nobody serves a sibling that is ready."""
        actions: list[Action] = []
        ready = [number for number, slot in enumerate(self.slots) if slot.phase is SlotPhase.READY]
        if not ready:
            return actions
        for number, slot in enumerate(self.slots):
            if slot.phase is not SlotPhase.READY and slot.deaths and slot.helper is None:
                slot.helper = ready[number % len(ready)]
                actions.append(Adopt(slot.helper, number))
        return actions


def keeper_pause_s(deaths_in_a_row: int) -> float:
    """How long to wait before the keeper is started again: at once, then doubling from 0.1 s to 5 s."""
    return 0.0 if deaths_in_a_row <= 1 else min(5.0, 0.1 * 2.0 ** (deaths_in_a_row - 2))
