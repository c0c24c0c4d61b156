"""What `lowtide oca` tells a running supervisor, and its keeper: a Unix stream socket of each in the state folder, only for the same user.

One command per connection, a line of text. To the supervisor `restart`: the answer is lines of JSON (`RestartProgress`), one at once and one per change;
or `disk ` and a `DiskOrder` as JSON: one line (`DiskAnswer`).
To the keeper `scrub RATE` (bytes per second and disk, 0 for no bound): lines of `ScrubReport`; who leaves ends it; and `purge ORDER` (JSON of `PurgeCommand`): one
line of `PurgeReport`, when every worker obeys. The last line has `ended`; then the other side closes.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec

from contracts.triggers import Selection, TriggerType

RESTART = b"restart\n"
SCRUB = b"scrub"
PURGE = b"purge"
DISK = b"disk "


class DiskDo(Enum):
    ADD = "add"
    DRAIN = "drain"
    REMOVE = "remove"


class DiskOrder(msgspec.Struct, frozen=True):
    """`target` is a path, or a number except for ADD; the rest is for ADD, `by_force` for REMOVE."""

    do: DiskDo
    target: str
    quota_bytes: int = 0
    """0 for a disk that is known: what it had."""
    weight: float = 1.0
    storage_class: Literal["hot", "cold"] = "cold"
    by_force: bool = False

    @property
    def path(self) -> str:
        return self.target


class DiskAnswer(msgspec.Struct, frozen=True):
    """What came of an order, as a sentence. `number` is the disk's, -1 where nothing was done."""

    done: bool
    sentence: str
    number: int = -1


class RestartProgress(msgspec.Struct, frozen=True):
    """How far a rolling restart is. `slots` has a sentence per worker slot; `refused` says why there is none at all."""

    slots: tuple[str, ...] = ()
    ended: bool = False
    succeeded: bool = False
    refused: str = ""


def socket_path(state_dir: Path) -> Path:
    """Where the supervisor listens."""
    return state_dir / "run" / "supervisor.sock"


class DiskScrub(msgspec.Struct, frozen=True):
    """One disk of a scrub. `failure`: why it was broken off there."""

    path: str
    extents_passed: int
    extents: int
    blocks: int
    bad_blocks: int
    ended: bool
    failure: str = ""


class ScrubReport(msgspec.Struct, frozen=True):
    """How far a scrub is; `refused` says why there is none at all."""

    disks: tuple[DiskScrub, ...] = ()
    ended: bool = False
    refused: str = ""


class PurgeCommand(msgspec.Struct, frozen=True):
    """What an operator at the box wants gone, or asked for again."""

    type: TriggerType
    selection: Selection
    text: str = ""


class PurgeReport(msgspec.Struct, frozen=True):
    """A purge that every worker obeys: its number, and how long that took from its commit. `refused` says why there is none."""

    number: int = 0
    obeyed_s: float = 0.0
    ended: bool = True
    refused: str = ""


def keeper_socket_path(state_dir: Path) -> Path:
    """Where the keeper listens for commands."""
    return state_dir / "run" / "keeper-commands.sock"
