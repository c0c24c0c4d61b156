"""The local CA, the certificate of the `mtls` listener, the key that signs digest lists (DESIGN §6).

All of it is made at the first start and lives in the state folder, private parts with mode 0600. Losing the folder means
enrolling everybody again; a copy of it in wrong hands means that everybody can be impersonated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from joserfc import jws
from joserfc.jwk import ECKey

from chassis import certificates
from chassis.certificates import DAY_S
from chassis.tls import TlsFiles
from contracts.enrolment import PeerKind, san_uri
from contracts.keys import KeyUse, PublicKey
from contracts.plans import AppliancePlan
from contracts.tokens.fills import GRACE_S, FillClaims, sign
from contracts.tokens.signatures import private_part

ALGORITHM = "ES256"
KID_CHARS = 16
SERVER_NAME = "control-plane"
RENEW_SHARE = 1 / 3
"""The listener's certificate is renewed at a start when less than this share of its life is left."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as it is handed out. `serial` as `serial_word` writes it."""

    pem: str
    serial: str
    expires_at: float


class Authority:
    """The keys of the control plane. Get it by `Authority.open`."""

    def __init__(self, folder: Path, ca_pem: str, ca_key: certificates.PrivateKey, digests_key: ECKey) -> None:
        self.ca_pem = ca_pem
        self.ca_fingerprint = certificates.ca_fingerprint(ca_pem)
        self.server_files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
        self.kid = f"{KeyUse.DIGESTS.value}-{digests_key.thumbprint()[:KID_CHARS]}"
        self._ca_key = ca_key
        self._digests_key = digests_key

    @classmethod
    def open(cls, folder: Path, names: tuple[str, ...], now: float, valid_days: float) -> Authority:
        """What the folder holds; what is missing is made. Raises CertificateError, OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca_key = _key(folder / "ca.key")
        ca_file = folder / "ca.pem"
        if not ca_file.exists():
            certificates.write_private(ca_file, certificates.make_ca(ca_key, "Lowtide CA", now).encode())
        digests_key = ECKey.import_key(certificates.key_to_pem(_key(folder / "digests.key")))
        made = cls(folder, ca_file.read_text(), ca_key, digests_key)
        made._ensure_server_certificate(names, now, valid_days)
        return made

    @property
    def digests_key(self) -> PublicKey:
        """The public part of the key that signs digest lists."""
        fields = self._digests_key.as_dict(private=False)
        jwk = {name: str(fields[name]) for name in ("kty", "crv", "x", "y")}
        return PublicKey(self.kid, KeyUse.DIGESTS, ALGORITHM, jwk)

    def issue(
        self, csr_pem: str, kind: PeerKind, name: str, addresses: tuple[str, ...], now: float, valid_days: float
    ) -> Issued:
        """A certificate for the request's key. Raises CertificateError for a wrong request."""
        pem = certificates.sign_csr(
            csr_pem,
            ca_pem=self.ca_pem,
            ca_key=self._ca_key,
            uri=san_uri(kind, name),
            addresses=addresses,
            now=now,
            days=valid_days,
        )
        serial = certificates.load_certificate(pem).serial_number
        return Issued(pem, serial_word(f"{serial:x}"), certificates.expires_at(pem))

    def sign_digests(self, document: bytes) -> str:
        """A compact JWS over the JSON of one FileDigests."""
        return jws.serialize_compact({"alg": ALGORITHM, "kid": self.kid}, document, self._digests_key)

    def sign_fills(self, plan: AppliancePlan, closes_at: float) -> AppliancePlan:
        """The plan with a credential for each order, good until a little after its window, which ends at `closes_at` by the machine's clock:
        who is shown a credential compares it with that one."""
        key, expires_at = private_part(self._digests_key), closes_at + GRACE_S
        orders = tuple(
            msgspec.structs.replace(
                order,
                credential=sign(FillClaims(order.id, plan.appliance_id, order.key, expires_at), key, self.kid),
            )
            for order in plan.orders
        )
        return msgspec.structs.replace(plan, orders=orders)

    def _ensure_server_certificate(self, names: tuple[str, ...], now: float, valid_days: float) -> None:
        files = self.server_files
        key = _key(files.key)
        wanted = files.certificate.with_suffix(".names")
        said = "\n".join(sorted(names))
        if files.certificate.exists() and wanted.exists() and wanted.read_text() == said:
            left_s = certificates.expires_at(files.certificate.read_text()) - now
            if left_s > valid_days * DAY_S * RENEW_SHARE:
                return
        uri = san_uri(PeerKind.SERVICE, SERVER_NAME)
        csr = certificates.make_csr(key, uri, names)
        issued = self.issue(csr, PeerKind.SERVICE, SERVER_NAME, names, now, valid_days)
        certificates.write_private(files.certificate, issued.pem.encode())
        certificates.write_private(wanted, said.encode())


def serial_word(text: str) -> str:
    """One spelling of a serial number in hex, however a TLS library pads it."""
    return f"{int(text, 16):x}"


def _key(path: Path) -> certificates.PrivateKey:
    if not path.exists():
        certificates.write_private(path, certificates.key_to_pem(certificates.make_key()))
    return certificates.load_key(path.read_bytes())
