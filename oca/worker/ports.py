"""What a sender needs of the world: a transport, somebody who is told how it ended, and what all senders of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from oca.http.reasons import Outcome
from oca.link.counters import CounterLine
from oca.link.worker import LinkClient
from oca.worker.egress import Egress
from oca.worker.holdings import Holdings
from oca.worker.passing import Passing
from oca.worker.residency import DiskPools, Residency


class ByteTransport(Protocol):
    """What of an aiofastnet transport is used here."""

    def write(self, data: bytes) -> None: ...

    def writelines(self, list_of_data: Sequence[bytes | bytearray | memoryview]) -> None: ...

    def sendfile(self, file: object, offset: int, count: int | None) -> asyncio.Future[None] | None: ...

    def is_closing(self) -> bool: ...

    def get_extra_info(self, name: str) -> Any: ...


class Receiver(Protocol):
    """Who is told how a body ended. Exactly one of the two is called, once, unless the sender was cancelled."""

    @property
    def is_congested(self) -> bool:
        """True while written bytes wait in the transport; `Sender.drained` is called when they are gone."""

    def sent(self, outcome: Outcome) -> None:
        """All of it was handed to the kernel."""

    def not_sent(self, outcome: Outcome, head_sent: bool) -> None:
        """It cannot be completed. With `head_sent` the connection has to be aborted."""


@dataclass(frozen=True, slots=True)
class Machinery:
    """What all senders of a worker share."""

    loop: asyncio.AbstractEventLoop
    holdings: Holdings
    residency: Residency
    pools: DiskPools
    link: LinkClient
    counters: CounterLine
    egress: Egress
    first_byte_s: float
    stall_s: float
    passing: Passing


class Waiting(Enum):
    NOTHING = "nothing"
    TURN = "turn"
    """For the next turn of the loop."""
    BLOCKS = "blocks"
    DISK = "disk"
    SHARE = "share"
    """For a part of the egress cap."""
    BODY = "body"
    """For the client to send more of its request."""
    CLIENT = "client"
    """For the client to take what was handed over."""
