"""Public host names of appliances and their certificates (DESIGN §6): what a box asks for and gets, what an operator sees."""

from __future__ import annotations

from enum import Enum

import msgspec

MOST_ADDRESSES = 8
"""Of one name: a box has one per family, seldom more."""


class NameState(Enum):
    """Where a name and its certificate stand (log word = value)."""

    WANTED = "wanted"
    """The box has sent no signing request yet."""
    ORDERING = "ordering"
    PUBLISHED = "challenge-published"
    """The answer to the CA's challenge lies in the zone, for the CA to be asked to look."""
    VALIDATED = "validated"
    """The CA has seen it."""
    ISSUED = "issued"
    RENEWING = "renewing"
    """Ordered anew while the certificate before is in use."""
    FAILED = "failed"
    """Tried again at `retry_at`; a certificate from before stays in use."""


class NameTrouble(Enum):
    """Why an order failed, or a name is not usable (log word = value)."""

    NO_HOST = "id-is-no-host-name"
    NO_CA = "no-ca-configured"
    CA_AWAY = "ca-away"
    CA_REFUSED = "ca-refused"
    RATE_LIMITED = "ca-rate-limit"
    CHALLENGE = "challenge-failed"
    SLOW = "ca-slow"
    ZONE = "zone-not-published"
    CHAIN = "certificate-unusable"
    KEYS = "too-many-keys"
    """The box sent one new key after another: orders for it wait."""
    EXPIRED = "certificate-expired"
    BROKEN = "internal-error"
    """A mistake of the control plane itself; its log has the traceback."""


class RequestRefusal(Enum):
    """Why a signing request is not taken (log word = value)."""

    NOT_A_REQUEST = "not-a-signing-request"
    UNSIGNED = "not-signed-by-its-key"
    KEY = "wrong-kind-of-key"
    NO_NAME = "no-name"
    FOREIGN_NAME = "foreign-name"
    OTHER_IDENTITY = "other-than-host-names"
    ADDRESS = "wrong-address"
    UNNAMED = "box-has-no-name"


class NameRequest(msgspec.Struct, frozen=True):
    """`POST /v1/appliance/name`: a signing request for the key that the box has made, and where players reach it.

    `addresses` are IP addresses, published as A and AAAA. `has_certificate` is False when the box holds none that it could show:
    then one is ordered at once (five times a week at most), otherwise at the next renewal.
    """

    csr_pem: str
    addresses: tuple[str, ...]
    has_certificate: bool = False


class ApplianceName(msgspec.Struct, frozen=True):
    """`GET /v1/appliance/name`. `host` is empty where the control plane manages no names, or has none for this box.

    `number` grows with every certificate; `chain_pem` is the newest one (leaf first), empty before the first.
    """

    host: str = ""
    number: int = 0
    chain_pem: str = ""
    addresses: tuple[str, ...] = ()
    """As they were given last."""


class NameFacts(msgspec.Struct, frozen=True):
    """One name as an operator sees it. Instants are seconds since the epoch, 0 for none."""

    appliance_id: str
    host: str
    state: NameState
    since: float
    usable: bool
    """Published, with a certificate that is good now: players may be sent there by https."""
    sentence: str
    addresses: tuple[str, ...] = ()
    expires_at: float = 0.0
    renew_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    """In a row."""
    trouble: NameTrouble | None = None
    detail: str = ""
    published: bool = False
    """Its addresses lie in the zone."""


class NameList(msgspec.Struct, frozen=True):
    """`GET /v1/names`. `zone` is empty where none is configured; `zone_problem` says why the zone cannot be published just now."""

    zone: str
    names: tuple[NameFacts, ...]
    zone_problem: str = ""
