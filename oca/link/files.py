"""Files in the state folder that keeper, workers and supervisor share (table in `oca.keeper`).

Writers write whole and rename, so that a reader sees the old or the new. A reader takes fields it does not know for nothing.
"""

from __future__ import annotations

import msgspec

from contracts.places import ApplianceState


class Listening(msgspec.Struct, frozen=True):
    """`run/listening.json`, by the supervisor before it starts children: base URLs without a trailing slash."""

    media: str
    peers: str
    status: str
    index_locked: tuple[bool, ...] = ()
    """Per disk: whether the supervisor could lock the index in memory."""


class Desired(msgspec.Struct, frozen=True):
    """`desired.json`, by the keeper: what the control plane wants this box to be, and since when (seconds since the epoch)."""

    state: ApplianceState = ApplianceState.LIVE
    since: float = 0.0


class Contact(msgspec.Struct, frozen=True):
    """`contact.json`, by the keeper every few seconds while the control plane answers: when it last did (seconds since the epoch)."""

    at: float = 0.0


class KeeperStatus(msgspec.Struct, frozen=True):
    """`run/keeper.json`, by the keeper every second. The supervisor's `/readyz` reads `ready` and `sentence`; more may stand there."""

    pid: int = 0
    ready: bool = False
    sentence: str = ""
    written_at: float = 0.0
    enrolled: bool = False
    connected: bool = False
    """The heartbeat stream to the control plane is open."""
    appliance_id: str = ""
    state: str = ""
    plan_number: int = 0
    keys_number: int = 0
    orders: dict[str, int] = {}
    """Orders of the plan by state (`contracts.reports.FillState` values)."""
    score: float = 0.0
    reasons: tuple[str, ...] = ()
    held_files: int = 0
    held_bytes: int = 0
