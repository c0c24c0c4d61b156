"""A name's state as one English sentence. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.names import NameState, NameTrouble
from control_plane.names.states import NameRecord, is_good

_STATES = {
    NameState.WANTED: "the appliance has not sent a signing request yet",
    NameState.ORDERING: "a certificate is being ordered",
    NameState.PUBLISHED: "the answer to the CA's challenge is published",
    NameState.VALIDATED: "the CA has seen the answer to its challenge, and is asked to sign",
    NameState.RENEWING: "the certificate is being renewed",
}


def sentence_of(record: NameRecord, trouble: NameTrouble | None, *, published: bool, now: float) -> str:
    """How the name is, what is wrong with it, and what comes next."""
    if trouble is NameTrouble.NO_HOST:
        return f"{record.appliance_id} cannot be part of a host name: letters, digits, hyphens and dots only"
    parts = [_certificate(record, now)]
    if record.state is NameState.FAILED:
        why = record.trouble.value if record.trouble is not None else "unknown"
        parts.append(f"the last order failed ({why}: {record.detail}), next attempt at {_moment(record.retry_at)}")
    elif record.state is NameState.ISSUED:
        parts.append(f"renewal at {_moment(record.renew_at)}")
    else:
        parts.append(_STATES[record.state])
    if trouble is NameTrouble.NO_CA:
        parts.append("no CA is configured (names.acme.directory)")
    if record.addresses and not published:
        parts.append("its addresses are not in the zone yet")
    return "; ".join(part for part in parts if part)


def _certificate(record: NameRecord, now: float) -> str:
    if not record.chain_pem:
        return "no certificate yet"
    if is_good(record, now):
        return f"a certificate until {_moment(record.expires_at)}"
    return f"the certificate ran out at {_moment(record.expires_at)}: players are not sent here by https"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
