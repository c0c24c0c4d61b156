"""What goes from cold disks to hot ones because it is used much, and what makes way for it. Pure.

**Heat** is the number of accesses of an extent's content, halved every `HALF_LIFE_S`. It is kept by the name of the content, so that it
stays when the extent moves.

Laws of `choose`: no more than the budget is written, demotions included; what is chosen fits into the room of its hot disk, with what
makes way for it; an extent makes way only for one that is at least `MARGIN` times as hot per byte, so that two of the same heat do not
change places for ever; nobody is chosen twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oca.store.moving import MoveReason

HALF_LIFE_S = 600.0
LEAST_HEAT = 8.0
"""Accesses within about a half-life: what is used less often is as well off on a large disk."""
MARGIN = 2.0
_FORGOTTEN = 0.5


class Heat:
    """Of every content that was used lately. Counts may be lost when several threads add at once: they steer, they do not bill."""

    def __init__(self) -> None:
        self._counts: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, accesses: Iterable[tuple[bytes, int]]) -> None:
        """(content, hits) since the last call."""
        for identity, hits in accesses:
            self._counts[identity] = self._counts.get(identity, 0.0) + hits

    def cool(self, passed_s: float) -> None:
        """Time went by; what is as good as forgotten is."""
        share = 0.5 ** (passed_s / HALF_LIFE_S)
        self._counts = {
            identity: count * share for identity, count in list(self._counts.items()) if count * share >= _FORGOTTEN
        }

    def of(self, identity: bytes) -> float:
        return self._counts.get(identity, 0.0)

    def hottest(self, least: float = LEAST_HEAT) -> list[tuple[bytes, float]]:
        """Contents at least so hot, the hottest first."""
        return sorted(
            ((identity, count) for identity, count in list(self._counts.items()) if count >= least),
            key=lambda found: (-found[1], found[0]),
        )


@dataclass(frozen=True, slots=True)
class Resident:
    """An extent where it lies. `other` is the disk of the other class that it would go to."""

    disk: int
    extent_id: int
    size: int
    heat: float
    other: int

    @property
    def per_byte(self) -> float:
        return self.heat / self.size


@dataclass(frozen=True, slots=True)
class Choice:
    """A move to be made, in the order given."""

    source: int
    target: int
    extent_id: int
    reason: MoveReason


def choose(
    cold: Sequence[Resident], hot: Sequence[Resident], room_bytes: Mapping[int, int], budget_bytes: int
) -> list[Choice]:
    """Moves in the order to make them. `room_bytes` is what each hot disk can take without evicting."""
    room = dict(room_bytes)
    leavers = {
        disk: sorted((r for r in hot if r.disk == disk), key=lambda r: (-r.per_byte, r.extent_id)) for disk in room
    }
    chosen: list[Choice] = []
    for wanted in sorted(cold, key=lambda r: (-r.per_byte, r.disk, r.extent_id)):
        if wanted.heat < LEAST_HEAT or wanted.other not in room:
            continue
        going, freed = _way_for(wanted, leavers[wanted.other], room[wanted.other])
        cost = wanted.size + freed
        if room[wanted.other] + freed < wanted.size or cost > budget_bytes:
            continue
        del leavers[wanted.other][len(leavers[wanted.other]) - len(going) :]
        chosen += [Choice(r.disk, r.other, r.extent_id, MoveReason.DEMOTE) for r in going]
        chosen.append(Choice(wanted.disk, wanted.other, wanted.extent_id, MoveReason.PROMOTE))
        room[wanted.other] += freed - wanted.size
        budget_bytes -= cost
    return chosen


def _way_for(wanted: Resident, leavers: list[Resident], room_bytes: int) -> tuple[list[Resident], int]:
    """The coldest of the hot disk that would make room, as far as `wanted` is so much hotter, and their bytes."""
    going: list[Resident] = []
    freed = 0
    for resident in reversed(leavers):
        if room_bytes + freed >= wanted.size or resident.per_byte * MARGIN > wanted.per_byte:
            break
        going.append(resident)
        freed += resident.size
    return going, freed
