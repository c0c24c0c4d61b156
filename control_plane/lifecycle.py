"""The states of an appliance that an operator sees, as one table (DESIGN §3.5).

A state changes only along a row of TABLE. What is not in it is refused, with the states that could follow in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from contracts.places import ApplianceState
from contracts.reports import ApplianceReport

TURN_UP_SCORE = 0.5


class LifeEvent(Enum):
    """Why an appliance changes its state (log word = value)."""

    ENROLLED = "enrolled"
    """It has a certificate now."""
    TURNED_UP = "turned-up"
    """A report passed every turn-up check."""
    EMPTIED = "emptied"
    """While draining, the last session ended."""
    ASKED_LIVE = "asked-live"
    ASKED_DRAINING = "asked-draining"
    ASKED_DRAINED = "asked-drained"
    ASKED_MAINTENANCE = "asked-maintenance"
    ASKED_RETIRED = "asked-retired"


class TurnUpFailure(Enum):
    """Why a report does not end burn-in (log word = value)."""

    LOW_SCORE = "low-score"
    NO_HEALTHY_DISK = "no-healthy-disk"
    NO_PLAYER_ADDRESS = "no-player-address"


_S = ApplianceState
_E = LifeEvent
TABLE: Mapping[tuple[ApplianceState, LifeEvent], ApplianceState] = MappingProxyType(
    {
        (_S.ENROLLING, _E.ENROLLED): _S.BURN_IN,
        (_S.ENROLLING, _E.ASKED_RETIRED): _S.RETIRED,
        (_S.BURN_IN, _E.TURNED_UP): _S.LIVE,
        (_S.BURN_IN, _E.ASKED_RETIRED): _S.RETIRED,
        (_S.LIVE, _E.ASKED_DRAINING): _S.DRAINING,
        # A box that is gone cannot drain: retiring it at once is the operator's decision.
        (_S.LIVE, _E.ASKED_RETIRED): _S.RETIRED,
        (_S.DRAINING, _E.ASKED_LIVE): _S.LIVE,
        (_S.DRAINING, _E.EMPTIED): _S.DRAINED,
        (_S.DRAINING, _E.ASKED_DRAINED): _S.DRAINED,
        (_S.DRAINING, _E.ASKED_RETIRED): _S.RETIRED,
        (_S.DRAINED, _E.ASKED_LIVE): _S.LIVE,
        (_S.DRAINED, _E.ASKED_MAINTENANCE): _S.MAINTENANCE,
        (_S.DRAINED, _E.ASKED_RETIRED): _S.RETIRED,
        (_S.MAINTENANCE, _E.ASKED_LIVE): _S.LIVE,
        (_S.MAINTENANCE, _E.ASKED_RETIRED): _S.RETIRED,
    }
)
ASKED: Mapping[ApplianceState, LifeEvent] = MappingProxyType(
    {
        _S.LIVE: _E.ASKED_LIVE,
        _S.DRAINING: _E.ASKED_DRAINING,
        _S.DRAINED: _E.ASKED_DRAINED,
        _S.MAINTENANCE: _E.ASKED_MAINTENANCE,
        _S.RETIRED: _E.ASKED_RETIRED,
    }
)
FILLED = frozenset({_S.BURN_IN, _S.LIVE, _S.DRAINING})
"""States in which an appliance gets orders."""
MAY_CALL = frozenset(set(ApplianceState) - {_S.RETIRED})
"""States in which an appliance's certificate opens anything."""


class WrongState(Exception):
    """No row of the table leads there; the message says which states could follow."""


def after(state: ApplianceState, event: LifeEvent) -> ApplianceState | None:
    """The state that follows, or None when the event changes nothing here."""
    return TABLE.get((state, event))


def asked(state: ApplianceState, wanted: ApplianceState) -> ApplianceState:
    """The state after an operator asked for `wanted`; asking for the present state changes nothing.

    Raises WrongState when the table has no such row.
    """
    if state is wanted:
        return state
    event = ASKED.get(wanted)
    found = TABLE.get((state, event)) if event is not None else None
    if found is None:
        possible = [to.value for to, by in ASKED.items() if (state, by) in TABLE]
        follow = f"from here it can be asked for {' or '.join(possible)}" if possible else "nothing follows it"
        raise WrongState(f"an appliance that is {state.value} cannot become {wanted.value}; {follow}")
    return found


def turn_up(report: ApplianceReport) -> tuple[TurnUpFailure, ...]:
    """What keeps an appliance in burn-in; empty when it may go live. The tests of a real turn-up come in here."""
    failures: list[TurnUpFailure] = []
    if report.score < TURN_UP_SCORE:
        failures.append(TurnUpFailure.LOW_SCORE)
    if not any(disk.healthy and disk.quota_bytes > 0 for disk in report.disks):
        failures.append(TurnUpFailure.NO_HEALTHY_DISK)
    if not report.player_urls:
        failures.append(TurnUpFailure.NO_PLAYER_ADDRESS)
    return tuple(failures)
