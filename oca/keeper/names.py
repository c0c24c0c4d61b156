"""The public name of this box: its key is made here, its certificate fetched, both put where the workers find them.

Files in `names/` of the state folder: `HOST.pem`, key and chain in one, so that one rename exchanges both; `HOST.csr`, the request
that it was for; `next.key` and `next.csr`, the key that the next certificate is for and its signing request. Keys have mode 0600. Players are told the name when a worker shows its certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis import certificates
from chassis.clock import Clock
from chassis.errors import CertificateError, ServiceError
from chassis.logs import get_logger
from contracts.names import ApplianceName, NameRequest
from oca.config import PublicNames
from oca.keeper.errors import NotConnected
from oca.keeper.following import happened
from oca.keeper.naming import Act, Certified, Here, has_certificate, next_act, url_of
from oca.keeper.state import write_atomically
from oca.link.files import Listening, TlsStatus

ASK_EVERY_S = 60.0
ASK_WITHOUT_S = 5.0
"""While there is no certificate that is good."""
LOOK_S = 1.0
"""How soon it is seen that workers show another certificate."""
_UNREADABLE = (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
MOST_ACTS = 4
"""In one round: make a key, ask, install, and one more look."""


class NameSource(Protocol):
    """What the keeper asks of the control plane. Both raise ServiceError, or NotConnected before enrolment."""

    async def name(self) -> ApplianceName: ...

    async def request_name(self, request: NameRequest) -> ApplianceName: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What the control plane took last: the pending key whose request it was, and what was said with it."""

    key: str = ""
    host: str = ""
    addresses: tuple[str, ...] = ()
    has_certificate: bool = False


class Names:
    """One box's name. `listening()` and `shown()` are what supervisor and workers say; `changed()`: players should be told otherwise."""

    def __init__(
        self,
        source: NameSource,
        folder: Path,
        settings: PublicNames,
        listening: Callable[[], Listening],
        shown: Callable[[], TlsStatus | None],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._source = source
        self._folder = folder
        self._settings = settings
        self._listening = listening
        self._shown = shown
        self._changed = changed
        self._clock = clock
        self._told = ApplianceName()
        self._is_heard = False
        self._unnamed_at_s: float | None = None
        self._sent = Sent()
        self._due = asyncio.Event()
        self._log = get_logger("oca.keeper.names")

    def nudged(self, number: int) -> None:
        """The control plane has issued so many certificates for this box."""
        if number > self._told.number:
            self._due.set()

    def urls(self) -> tuple[str, ...]:
        """The address that players are told; none while no worker shows a certificate for it that is good."""
        shown, (_addresses, port) = self._shown(), self._dialled()
        host, now = self._told.host if self._is_heard else self._installed_host(), self._clock.wall_s()
        if not host or not port or shown is None:
            return ()
        good = any(host in one.names and one.expires_at > now for one in shown.certificates)
        return (url_of(host, port),) if good else ()

    async def run(self) -> None:
        """Follows the control plane, for ever. Call it when the box is enrolled."""
        if not self._settings.managed:
            return
        said, told_urls = "", self.urls()
        ask_at_s = 0.0
        while True:
            now_s = self._clock.monotonic_s()
            if now_s >= ask_at_s or self._due.is_set():
                self._due.clear()
                try:
                    await self.follow_once()
                    said = ""
                except (ServiceError, NotConnected, CertificateError, OSError) as error:
                    if str(error) != said:
                        self._log.warning("name-not-followed", detail=str(error), then="trying again")
                    said = str(error)
                good = has_certificate(self._told.host, self._here(), self._clock.wall_s())
                ask_at_s = now_s + (ASK_EVERY_S if good else ASK_WITHOUT_S)
            if (urls := self.urls()) != told_urls:
                self._log.info("public-address", before=told_urls, now=urls)
                told_urls = urls
                self._changed()
            await happened(self._due, self._clock, LOOK_S)

    async def follow_once(self) -> None:
        """Asks, and does what follows. Raises ServiceError, NotConnected, CertificateError, OSError."""
        addresses, _port = self._dialled()
        if not addresses:
            return
        self._hear(await self._source.name())
        for _ in range(MOST_ACTS):
            now, here = self._clock.wall_s(), self._here()
            act = next_act(self._told, _certified(self._told.chain_pem, self._told.host), here, now)
            if act is Act.NOTHING:
                return
            await self._do(act, here, addresses, now)

    def _hear(self, told: ApplianceName) -> None:
        self._told, self._is_heard = told, True
        if told.host:
            self._unnamed_at_s = None
        elif self._unnamed_at_s is None:
            self._unnamed_at_s = self._clock.monotonic_s()

    async def _do(self, act: Act, here: Here, addresses: tuple[str, ...], now: float) -> None:
        host = self._told.host
        if act is Act.MAKE_KEY:
            self._make_key(host)
            self._log.info("name-key-made", host=host)
        elif act is Act.ASK:
            csr = self._folder / ("next.csr" if here.pending_key else f"{host}.csr")
            if not csr.exists():
                self._make_key(host)
                return
            request = NameRequest(csr.read_text(encoding="ascii"), addresses, has_certificate(host, here, now))
            self._hear(await self._source.request_name(request))
            self._sent = Sent(here.pending_key, host, addresses, request.has_certificate)
            self._log.info("name-requested", host=host, addresses=addresses)
        elif act is Act.INSTALL:
            self._install(host, here)
            self._log.info("name-certificate-installed", host=host, number=self._told.number)
        else:
            for path in self._folder.iterdir():
                path.unlink()
            self._log.warning("name-forgotten", why="the control plane has no public name for this box")

    def _make_key(self, host: str) -> None:
        """The request first: a key without one would be asked for by nobody."""
        key = certificates.make_key()
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        csr_pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        write_atomically(self._folder / "next.csr", csr_pem)
        certificates.write_private(self._folder / "next.key", certificates.key_to_pem(key))

    def _install(self, host: str, here: Here) -> None:
        came = _certified(self._told.chain_pem, host)
        is_pending = came is not None and came.key == here.pending_key
        installed = self._folder / f"{host}.pem"
        key_pem = (self._folder / "next.key").read_bytes() if is_pending else _key_pem(installed.read_bytes())
        certificates.write_private(installed, key_pem + self._told.chain_pem.encode())
        if is_pending:
            (self._folder / "next.csr").replace(self._folder / f"{host}.csr")
            (self._folder / "next.key").unlink(missing_ok=True)
        for other in (*self._folder.glob("*.pem"), *self._folder.glob("*.csr")):
            if other.stem not in (host, "next"):
                other.unlink()

    def _here(self) -> Here:
        host, installed = self._told.host, None
        for path in sorted(self._folder.glob("*.pem"), key=lambda path: (path.stem == host, path.name)):
            installed = _certified(_text(path), path.stem) or installed
        pending = _key_of(self._folder / "next.key", self._folder / "next.csr", host)
        addresses, _port = self._dialled()
        has_one = has_certificate(host, Here(installed), self._clock.wall_s())
        known = self._sent == Sent(pending, host, addresses, has_one) if pending else self._told.addresses == addresses
        since_s = self._unnamed_at_s
        return Here(installed, pending, known, self._clock.monotonic_s() - since_s if since_s is not None else 0.0)

    def _installed_host(self) -> str:
        """Before the control plane has been heard: the name that lies here."""
        return next((path.stem for path in sorted(self._folder.glob("*.pem"))), "")

    def _dialled(self) -> tuple[tuple[str, ...], int]:
        """(addresses, port) at which players reach the listeners with TLS; none of either where there is no such listener."""
        doors = [urlsplit(url) for url in self._listening().further if url.startswith("https://")]
        if not doors:
            return (), 0
        bound = tuple(dict.fromkeys(door.hostname or "" for door in doors))
        addresses = self._settings.addresses or tuple(host for host in bound if _is_dialled(host))
        return addresses, self._settings.port or doors[0].port or 443


def _is_dialled(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _certified(pem: str, host: str) -> Certified | None:
    """The leaf of a chain, where it can be read and names the host."""
    try:
        leaf = x509.load_pem_x509_certificates(pem.encode())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (IndexError, *_UNREADABLE):
        return None
    if host not in names.get_values_for_type(x509.DNSName):
        return None
    public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    begins_at, expires_at = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Certified(host, hashlib.sha256(public).hexdigest(), begins_at, expires_at)


def _key_of(key_file: Path, csr_file: Path, host: str) -> str:
    """The digest of a public key; empty where key or request are not there whole, or the request names another host than `host` (if given)."""
    try:
        key: ec.EllipticCurvePrivateKey = certificates.load_key(key_file.read_bytes())
        request = x509.load_pem_x509_csr(csr_file.read_bytes())
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, CertificateError, *_UNREADABLE):
        return ""
    if host and names.get_values_for_type(x509.DNSName) != [host]:
        return ""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
        return ""
    return hashlib.sha256(public).hexdigest()


def _key_pem(both: bytes) -> bytes:
    """The key's part of a file with key and chain."""
    return both[: both.index(b"-----BEGIN CERTIFICATE-----")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def read_shown(run_folder: Path) -> TlsStatus | None:
    """`run/tls.json`; None where no worker has said anything yet."""
    try:
        return msgspec.json.decode((run_folder / "tls.json").read_bytes(), type=TlsStatus)
    except (OSError, msgspec.MsgspecError):
        return None
