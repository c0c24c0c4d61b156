"""Files in the state folder that keeper, workers and supervisor share (table in `oca.keeper`).

Writers write whole and rename, so that a reader sees the old or the new. A reader takes fields it does not know for nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from contracts.places import ApplianceState
from oca.link.roster import Roster


class Listening(msgspec.Struct, frozen=True):
    """`run/listening.json`, by the supervisor before it starts children: base URLs without a trailing slash."""

    media: str
    peers: str
    status: str
    index_locked: tuple[bool, ...] = ()
    """Per disk: whether the supervisor could lock the index in memory."""
    further: tuple[str, ...] = ()
    """Where players connect besides `media`: base URLs, or `unix:PATH` (`unix+tls:PATH`)."""
    congestion_control: str = ""
    """Of the TCP listeners of players, as the kernel calls it."""
    not_sent_low_water_bytes: int = 0
    """`TCP_NOTSENT_LOWAT` of the same; 0 where the kernel has none."""


class DiskStatus(msgspec.Struct, frozen=True):
    """A disk as the keeper sees it, in `run/keeper.json`. `state` is taking part, joining, draining, drained, or out; `reason` says why it is out."""

    number: int
    path: str
    storage_class: str
    state: str
    reason: str = ""
    quota_bytes: int = 0
    used_bytes: int = 0
    left_bytes: int = 0
    """Of a disk that drains: what still has to move."""
    read_only: bool = False


class CertificateStatus(msgspec.Struct, frozen=True):
    """A certificate that players are shown. `problem` says why the files of this moment are not it; the one before stays in use."""

    cert: str
    names: tuple[str, ...] = ()
    expires_at: float = 0.0
    """Seconds since the epoch; 0 while none is in use."""
    problem: str = ""


class TlsStatus(msgspec.Struct, frozen=True):
    """`run/tls.json`, by the supervisor from what its workers say, where a listener has TLS."""

    openssl: str
    kernel: bool
    """The kernel is asked to encrypt what is sent."""
    kernel_reason: str
    """Why it is not; empty where it is."""
    resumption: bool
    """A session resumes at every worker."""
    resumption_reason: str
    certificates: tuple[CertificateStatus, ...] = ()


class Desired(msgspec.Struct, frozen=True):
    """`desired.json`, by the keeper: what the control plane wants this box to be, and since when (seconds since the epoch)."""

    state: ApplianceState = ApplianceState.LIVE
    since: float = 0.0


class PurgeReached(msgspec.Struct, frozen=True):
    """`purge.json`, by the keeper after every purge: the epoch that was reached. The supervisor puts it on the board, so that no disk is
    trusted that missed a purge, even where every disk that heard of it is gone."""

    epoch: int = 0


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
    purge_epoch: int = 0
    trigger: int = 0
    """The control plane's number of the last trigger that was applied."""
    purges_waiting: int = 0
    """Purges that every worker obeys and whose content is not all swept or found to be current yet."""
    triggers_current: bool = False
    """Every trigger that the control plane spoke of is applied."""
    disks: tuple[DiskStatus, ...] = ()


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """Replaces the file at once or not at all, making its folder where it is missing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def read_roster(state_dir: str) -> Roster | None:
    """`run/disks.json`; None where no supervisor has written one."""
    try:
        return msgspec.json.decode((Path(state_dir) / "run" / "disks.json").read_bytes(), type=Roster)
    except (OSError, msgspec.MsgspecError):
        return None
