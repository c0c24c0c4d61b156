"""What the supervisor hands a worker at `exec`: one memfd with JSON that names the other inherited descriptors.

    python -m oca.worker --handover-fd N

`control_fd` is a Unix stream socket between the two, lines of text. Supervisor → worker: `adopt SLOT` (also accept on that
slot's sockets, its own worker cannot live), `release SLOT`, `reload` (load certificates and keys again, changed or not), `retire` (another
serves the slot: accept no more, finish every connection, exit 0), `drain` (the box stops: finish what is being answered, exit 0). Worker →
supervisor: `ready`, and `tls JSON` (`oca.link.files.TlsStatus`) whenever that has changed. Its end of file tells a worker that the
supervisor is gone: it serves on for `ORPHAN_S`, then drains.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from oca.config import AccessLogging, Appliance

ORPHAN_S = 30.0
DRAIN_S = 10.0


class FurtherFds(msgspec.Struct, frozen=True):
    """A further listener of players: a socket for each slot, or (with `shared`) one on which all slots accept."""

    fds: tuple[int, ...]
    tls: bool = False
    shared: bool = False


class TlsHandover(msgspec.Struct, frozen=True):
    """Where a listener has TLS. A reason says why something is not to be used; empty: it may."""

    ticket_keys_fd: int
    tickets_reason: str = ""
    kernel_reason: str = ""


class Handover(msgspec.Struct, frozen=True):
    """`media_fds` and `peers_fds` hold a listening socket for each slot, in the order of slots; a worker accepts on its own.

    `line` is the worker's own in board and counters, and its name on the link to the keeper: no two living workers have the same,
    while a slot has two of them during a rolling restart.
    """

    settings: Appliance
    slot: int
    board_fd: int
    counters_fd: int
    control_fd: int
    media_fds: tuple[int, ...]
    peers_fds: tuple[int, ...]
    line: int = 0
    log_fd: int = -1
    """The writing end of the line's pipe to the logger (`oca.link.records`); -1 when no access log is written."""
    further: tuple[FurtherFds, ...] = ()
    tls: TlsHandover | None = None


class LoggerHandover(msgspec.Struct, frozen=True):
    """What the logger gets in the same way: the reading ends of all lines' pipes."""

    settings: AccessLogging
    folder: str
    pipe_fds: tuple[int, ...]
    counters_fd: int
    counters_line: int
    """Its own line of `oca.link.counters`, behind those of the workers."""

    @property
    def folder_path(self) -> Path:
        return Path(self.folder)


def memfd(name: str, content: bytes) -> int:
    """A sealed-by-nobody memory file with `content`, read position at the start. The caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def write_handover(handover: Handover | LoggerHandover) -> int:
    return memfd("lowtide-handover", msgspec.json.encode(handover))


def read_handover(fd: int) -> Handover:
    """Reads and closes the descriptor. Raises msgspec.MsgspecError when it holds something else."""
    with os.fdopen(fd, "rb") as file:
        return msgspec.json.decode(file.read(), type=Handover)


def read_logger_handover(fd: int) -> LoggerHandover:
    """Reads and closes the descriptor. Raises msgspec.MsgspecError when it holds something else."""
    with os.fdopen(fd, "rb") as file:
        return msgspec.json.decode(file.read(), type=LoggerHandover)
