"""The CA and the name server as this room needs them. Adapters: `acme_orders`; `zone_file` and `updates`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from contracts.names import NameTrouble
from control_plane.names.zone import Rrsets


class IssuerError(Exception):
    """The CA did not do what it was asked to. The message says what it answered."""

    def __init__(self, trouble: NameTrouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


class NameServerError(Exception):
    """The zone could not be changed; the message says where and why. What it had before may stand, or part of the change."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """`text` is what the CA wants to find as TXT under `_acme-challenge.HOST`."""

    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order that the CA has taken. No challenge: it has validated the name before, and still knows. `handle` is the adapter's own."""

    csr_pem: str
    challenges: tuple[Challenge, ...]
    handle: object = None


class Issuer(Protocol):
    """A CA. Every call raises IssuerError; a call that is cancelled may still have its effect."""

    async def order(self, csr_pem: str) -> Order:
        """Orders a certificate for the names in a signing request."""

    async def validate(self, order: Order) -> None:
        """Asks the CA to look at the challenges, which have to be published; returns when it has seen them all."""

    async def finish(self, order: Order) -> str:
        """The chain in PEM form, leaf first. After `validate`."""

    async def close(self) -> None:
        """The end: nothing can be asked after it."""


class NameServer(Protocol):
    """Where the zone is published."""

    async def publish(self, wanted: Rrsets, before: Rrsets) -> None:
        """Makes the zone have `wanted`. `before` is what may be published already: what is in it and not wanted goes.

        Saying the same again is harmless. Raises NameServerError.
        """
