"""One name of an appliance: its record, the table of its states, and what is to be done next. Pure.

Laws
- A certificate that was issued is given up for a newer one only: while a renewal fails, the last good one stays.
- A certificate is renewed when two thirds of its life are over, spread by up to a tenth of the rest, so that boxes that were set up together
  do not order together.
- A box decides by its keys when it is to have a certificate before its time, but a few times a week only: CAs count what they sign and what
  they are asked for by account and domain, so that one box could use up what all need.
- What failed is tried again after a wait that doubles with each failure in a row, up to a longest one.
- An order lives as long as the process that made it: after a restart it is made anew, and the CA remembers what it has validated (RFC 8555
  §7.1.4: authorizations are the account's, not the order's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import msgspec

from contracts.names import NameState, NameTrouble

RENEW_SHARE = 2 / 3
SPREAD = 0.1
"""Share of the last third by which renewals are spread."""
ORDERED_AGAIN_AFTER_S = 600.0
"""A box that lost its key gets a new certificate at once, but not every moment."""
EARLY_ORDERS = 5
EARLY_WITHIN_S = 7 * 86400.0
"""As many orders before their time has a name in so long: as many as CAs sign for one set of names in a week."""


class NameEvent(Enum):
    """Why a name changes its state (log word = value)."""

    REQUESTED = "requested"
    """The box sent a signing request."""
    ORDERED = "ordered"
    """The CA took the order, and its challenge is answered in the zone."""
    SEEN = "seen"
    """The CA found the answer."""
    SIGNED = "signed"
    DUE = "due"
    """The certificate is to be renewed."""
    TRIED_AGAIN = "tried-again"
    WENT_WRONG = "went-wrong"
    ORDER_LOST = "order-lost"
    """The process that made the order has ended, or the box has another key by now."""
    RENEWAL_LOST = "renewal-lost"
    """The same, of a name that has a certificate."""


class Act(Enum):
    """What is to be done for a name (log word = value)."""

    WAIT = "wait"
    BEGIN = "begin"
    """Move on to ordering."""
    ORDER = "order"
    """Place an order and publish the answer to its challenge."""
    VALIDATE = "validate"
    """Ask the CA to look, and wait until it has."""
    FINISH = "finish"
    """Send the signing request, fetch the chain, take the answer out of the zone."""


_S, _E = NameState, NameEvent
TABLE: Mapping[tuple[NameState, NameEvent], NameState] = MappingProxyType(
    {
        (_S.WANTED, _E.REQUESTED): _S.ORDERING,
        (_S.ORDERING, _E.ORDERED): _S.PUBLISHED,
        (_S.RENEWING, _E.ORDERED): _S.PUBLISHED,
        (_S.PUBLISHED, _E.SEEN): _S.VALIDATED,
        (_S.VALIDATED, _E.SIGNED): _S.ISSUED,
        (_S.ISSUED, _E.DUE): _S.RENEWING,
        (_S.FAILED, _E.DUE): _S.RENEWING,
        (_S.FAILED, _E.TRIED_AGAIN): _S.ORDERING,
        (_S.ORDERING, _E.WENT_WRONG): _S.FAILED,
        (_S.RENEWING, _E.WENT_WRONG): _S.FAILED,
        (_S.PUBLISHED, _E.WENT_WRONG): _S.FAILED,
        (_S.VALIDATED, _E.WENT_WRONG): _S.FAILED,
        (_S.PUBLISHED, _E.ORDER_LOST): _S.ORDERING,
        (_S.VALIDATED, _E.ORDER_LOST): _S.ORDERING,
        (_S.PUBLISHED, _E.RENEWAL_LOST): _S.RENEWING,
        (_S.VALIDATED, _E.RENEWAL_LOST): _S.RENEWING,
    }
)
UNDER_WAY: Mapping[NameState, Act] = MappingProxyType(
    {_S.ORDERING: Act.ORDER, _S.RENEWING: Act.ORDER, _S.PUBLISHED: Act.VALIDATE, _S.VALIDATED: Act.FINISH}
)
"""States in which somebody works on the name, and on what."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`settle_s` after publishing until the CA is asked to look; waits after failures."""

    settle_s: float = 10.0
    first_retry_s: float = 60.0
    longest_retry_s: float = 6 * 3600.0


class NameRecord(msgspec.Struct, frozen=True):
    """What is kept of a name. Instants are seconds since the epoch, 0 for none."""

    appliance_id: str
    host: str
    state: NameState = NameState.WANTED
    since: float = 0.0
    csr_pem: str = ""
    """The newest signing request; the next order is for it."""
    addresses: tuple[str, ...] = ()
    chain_pem: str = ""
    number: int = 0
    """Certificates issued so far."""
    issued_at: float = 0.0
    expires_at: float = 0.0
    renew_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    trouble: NameTrouble | None = None
    detail: str = ""
    signed_csr: str = ""
    """The request that `chain_pem` is for."""
    early: tuple[float, ...] = ()
    """Orders that a new key of the box brought before their time, oldest first; some lie ahead."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and not before `at` (seconds since the epoch)."""

    act: Act
    at: float = 0.0


def next_step(record: NameRecord, now: float, patience: Patience) -> Step:
    """What this name needs. A `Step` whose `at` lies ahead is waited for."""
    state = record.state
    if state is NameState.WANTED:
        return Step(Act.BEGIN if record.csr_pem else Act.WAIT)
    if state is NameState.ISSUED:
        return Step(Act.BEGIN, record.renew_at)
    if state is NameState.FAILED:
        return Step(Act.BEGIN, record.retry_at)
    return Step(UNDER_WAY[state], record.since + patience.settle_s if state is NameState.PUBLISHED else now)


def after(record: NameRecord, event: NameEvent, now: float) -> NameRecord:
    """The record in the state that follows. An event that the table has no row for is a mistake of the caller."""
    state = TABLE[record.state, event]
    return msgspec.structs.replace(record, state=state, since=now)


def begun(record: NameRecord, now: float) -> NameRecord:
    """On the way to an order: of a name that waits for one, is due for renewal, or failed."""
    if record.state is NameState.WANTED:
        return after(record, NameEvent.REQUESTED, now)
    return after(record, NameEvent.DUE if record.chain_pem else NameEvent.TRIED_AGAIN, now)


def requested(
    record: NameRecord, csr_pem: str, addresses: tuple[str, ...], has_certificate: bool, now: float
) -> NameRecord:
    """With what the box sent. An order under way for another key begins anew; a box without a certificate does not wait for the renewal.

    Neither happens more than `EARLY_ORDERS` times within `EARLY_WITHIN_S`: then the order fails, or waits until the oldest is so long ago.
    """
    is_new = csr_pem != record.csr_pem
    record = msgspec.structs.replace(record, csr_pem=csr_pem, addresses=addresses)
    if record.state is NameState.WANTED:
        return begun(record, now)
    if is_new and record.state in UNDER_WAY:
        return _ordered_anew(record, now)
    if record.state is NameState.ISSUED and not has_certificate and csr_pem != record.signed_csr:
        return _renewed_early(record, now)
    return record


def _ordered_anew(record: NameRecord, now: float) -> NameRecord:
    early, free_at = _early(record, now)
    if free_at <= now:
        return order_lost(msgspec.structs.replace(record, early=(*early, now)), now)
    detail = (
        f"the box sent {EARLY_ORDERS} other keys within a week, each while a certificate for the one before was ordered"
    )
    return msgspec.structs.replace(
        after(record, NameEvent.WENT_WRONG, now),
        failures=record.failures + 1,
        trouble=NameTrouble.KEYS,
        detail=detail,
        retry_at=free_at,
        early=(*early, free_at),
    )


def _renewed_early(record: NameRecord, now: float) -> NameRecord:
    early, free_at = _early(record, now)
    soonest = max(now, record.issued_at + ORDERED_AGAIN_AFTER_S, free_at)
    if soonest >= record.renew_at:
        return record
    return msgspec.structs.replace(record, renew_at=soonest, early=(*early, soonest))


def _early(record: NameRecord, now: float) -> tuple[tuple[float, ...], float]:
    """(the early orders that count, when there may be another one)."""
    early = tuple(at for at in record.early if at > now - EARLY_WITHIN_S)
    return early, early[-EARLY_ORDERS] + EARLY_WITHIN_S if len(early) >= EARLY_ORDERS else now


def order_lost(record: NameRecord, now: float) -> NameRecord:
    """After a start: what was under way begins anew. Other states stay."""
    if (record.state, NameEvent.ORDER_LOST) not in TABLE:
        return record
    return after(record, NameEvent.RENEWAL_LOST if record.chain_pem else NameEvent.ORDER_LOST, now)


def signed(
    record: NameRecord, chain_pem: str, begins_at: float, expires_at: float, now: float, chance: float
) -> NameRecord:
    """With its certificate, valid from `begins_at` to `expires_at`. `chance` in [0, 1) spreads the renewal."""
    life_s = expires_at - begins_at
    left = (1 - RENEW_SHARE) * life_s
    return msgspec.structs.replace(
        after(record, NameEvent.SIGNED, now),
        chain_pem=chain_pem,
        number=record.number + 1,
        signed_csr=record.csr_pem,
        issued_at=now,
        expires_at=expires_at,
        renew_at=begins_at + RENEW_SHARE * life_s + SPREAD * chance * left,
        retry_at=0.0,
        failures=0,
        trouble=None,
        detail="",
    )


def failed(
    record: NameRecord, trouble: NameTrouble, detail: str, now: float, patience: Patience, chance: float
) -> NameRecord:
    """The order went wrong. `chance` in [0, 1) shortens the wait by up to a quarter, so that failures do not come back together."""
    failures = record.failures + 1
    wait_s = wait_after(failures, patience)
    return msgspec.structs.replace(
        after(record, NameEvent.WENT_WRONG, now),
        failures=failures,
        trouble=trouble,
        detail=detail,
        retry_at=now + wait_s * (1 - chance / 4),
    )


def wait_after(failures: int, patience: Patience) -> float:
    """Seconds until the next try, after so many failures in a row (at least one)."""
    return min(patience.longest_retry_s, patience.first_retry_s * 2.0 ** min(failures - 1, 30))


def hurried(record: NameRecord, now: float) -> NameRecord:
    """An operator wants an order now: what waits for its time waits no longer. What is under way goes on."""
    if record.state is NameState.FAILED:
        return msgspec.structs.replace(record, retry_at=min(record.retry_at, now))
    if record.state is NameState.ISSUED:
        return msgspec.structs.replace(record, renew_at=min(record.renew_at, now))
    return record


def is_good(record: NameRecord, now: float) -> bool:
    """It has a certificate that is valid."""
    return bool(record.chain_pem) and now < record.expires_at


def trouble_of(record: NameRecord, now: float) -> NameTrouble | None:
    """What an operator should look at: a certificate that ran out before all else, then the failure of the last order."""
    if record.chain_pem and now >= record.expires_at:
        return NameTrouble.EXPIRED
    return record.trouble
