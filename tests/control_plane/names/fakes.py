"""A CA and a name server in memory, and what boxes send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from chassis.certificates import PrivateKey, make_ca, make_key, sign_csr
from chassis.certificates import make_csr as make_inner_csr
from contracts.names import NameTrouble
from control_plane.names.ports import Challenge, IssuerError, NameServerError, Order
from control_plane.names.zone import CHALLENGE, Rrsets, difference

DAY_S = 86400.0


@dataclass
class FakeNameServer:
    """Keeps records like a real one: by the difference, so that a wrong `before` shows."""

    records: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    broken: str = ""
    said: int = 0
    asked: int = 0
    answers: asyncio.Event | None = None
    """Nothing is answered before it is set."""

    async def publish(self, wanted: Rrsets, before: Rrsets) -> None:
        self.asked += 1
        if self.answers is not None:
            await self.answers.wait()
        if self.broken:
            raise NameServerError(self.broken)
        self.said += 1
        found = difference(before, wanted)
        for owner in found.drop:
            self.records.pop(owner, None)
        self.records.update(found.put)


@dataclass
class FakeIssuer:
    """A CA that looks into the fake zone before it signs, as a real one does."""

    server: FakeNameServer
    wall_s: Callable[[], float]
    valid_days: float = 90.0
    refuses: IssuerError | None = None
    orders: int = 0
    closed: bool = False
    takes: asyncio.Event | None = None
    """No order is taken before it is set."""

    def __post_init__(self) -> None:
        self.key = make_key()
        self.ca_pem = make_ca(self.key, "Fake CA", self.wall_s() - DAY_S)
        self._signed: set[str] = set()

    async def order(self, csr_pem: str) -> Order:
        self._stands_open()
        if self.refuses is not None:
            raise self.refuses
        self.orders += 1
        if self.takes is not None:
            await self.takes.wait()
        return Order(csr_pem, tuple(Challenge(host, f"answer-{self.orders}") for host in names_in(csr_pem)))

    async def validate(self, order: Order) -> None:
        self._stands_open()
        for challenge in order.challenges:
            found = self.server.records.get((f"{CHALLENGE}.{challenge.host}", "TXT"), ())
            if challenge.text not in found:
                raise IssuerError(NameTrouble.CHALLENGE, f"dns: {challenge.host} has {found}")
        self._signed.add(order.csr_pem)

    async def finish(self, order: Order) -> str:
        self._stands_open()
        if order.csr_pem not in self._signed:
            raise IssuerError(NameTrouble.CA_REFUSED, "orderNotReady: nothing was validated")
        leaf = sign_csr(
            order.csr_pem,
            ca_pem=self.ca_pem,
            ca_key=self.key,
            uri="lowtide://fake/leaf",
            addresses=names_in(order.csr_pem),
            now=self.wall_s(),
            days=self.valid_days,
        )
        return leaf + self.ca_pem

    async def close(self) -> None:
        self.closed = True

    def _stands_open(self) -> None:
        """As the pool of the real one says it."""
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")


def csr_for(*names: str, key: PrivateKey | None = None, common: str = "") -> str:
    """A signing request for host names, as a box makes it."""
    subject = [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common)] if common else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    return builder.sign(key or make_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def inner_csr() -> str:
    """One of the enrolment's kind: it asks for a URI."""
    return make_inner_csr(make_key(), "lowtide://appliance/a1", ("a1.cdn.test",))


def names_in(csr_pem: str) -> list[str]:
    request = x509.load_pem_x509_csr(csr_pem.encode())
    found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name) for name in found.get_values_for_type(x509.DNSName)]
