"""A rolling restart: one slot after the other gets a new worker. Pure: it reads the slot table and asks it for successors.

| a slot's turn | when | then |
|---|---|---|
| waiting | its worker serves, and no earlier one is left | starting |
| waiting | no worker serves it (resting, pausing) | vacant: its next worker is a new one anyway |
| starting | a new worker serves it | replaced, the next slot's turn |
| starting | the old worker serves it still, and there is no successor any more | failed: the restart ends |
| starting | neither old nor new could live | failed: the restart ends |
| waiting | the restart has ended | untouched |
"""

from __future__ import annotations

from enum import Enum

from oca.supervisor.slots import Action, SlotPhase, Slots


class Turn(Enum):
    """How far a slot is: (log word, what an operator reads, is it the slot's last word)."""

    WAITING = ("waiting", "waits for its turn", False)
    CLEARING = ("clearing", "waits for an earlier worker to finish its connections", False)
    STARTING = ("starting", "a new worker starts, the old one serves", False)
    REPLACED = ("replaced", "replaced; the old worker finishes its connections", True)
    VACANT = ("vacant", "has no worker now; the next one is a new one", True)
    FAILED = ("failed", "no new worker could serve; the restart ended here, see the log", True)
    UNTOUCHED = ("untouched", "left as it was", True)

    def __init__(self, word: str, text: str, final: bool) -> None:
        self.word = word
        self.text = text
        self.final = final


class Rolling:
    """One restart of all slots. Call `step` after every event and tick until it `has_ended`."""

    def __init__(self, count: int) -> None:
        self.turns = [Turn.WAITING] * count
        self._old_line = -1

    @property
    def has_ended(self) -> bool:
        return all(turn.final for turn in self.turns)

    @property
    def succeeded(self) -> bool:
        return all(turn in (Turn.REPLACED, Turn.VACANT) for turn in self.turns)

    def step(self, table: Slots, now: float) -> list[Action]:
        """Go on as far as the table allows; gives what has to be done."""
        for number, turn in enumerate(self.turns):
            if turn.final:
                continue
            actions = self._begin(number, table, now) if turn is not Turn.STARTING else self._judge(number, table)
            if actions is not None:
                return actions
        return []

    def _begin(self, number: int, table: Slots, now: float) -> list[Action] | None:
        """None when the slot's turn is over."""
        slot = table.slots[number]
        if slot.phase in (SlotPhase.RESTING, SlotPhase.PAUSING):
            self.turns[number] = Turn.VACANT
            return None
        if not slot.is_replaceable:
            self.turns[number] = Turn.WAITING if slot.leaver is None else Turn.CLEARING
            return []
        self.turns[number] = Turn.STARTING
        self._old_line = slot.line
        return table.replace(number, now)

    def _judge(self, number: int, table: Slots) -> list[Action] | None:
        """None when the slot's turn is over."""
        slot = table.slots[number]
        if slot.successor is not None or slot.phase is SlotPhase.STARTING:
            return []
        if slot.phase is SlotPhase.READY and slot.line != self._old_line:
            self.turns[number] = Turn.REPLACED
            return None
        self.turns[number] = Turn.FAILED
        self.turns = [turn if turn.final else Turn.UNTOUCHED for turn in self.turns]
        return []
