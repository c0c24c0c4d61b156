"""The players' side of TLS: several certificates chosen by name, loaded when their files change, sessions that resume at every worker.

Laws:
- A context is never changed once it serves, but for its ticket keys: new files make a new context, running connections keep theirs.
- Files that cannot be loaded change nothing: the certificate before stays in use, and the status says what is wrong with the new one.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oca.config import Certificate, PlayerTls
from oca.link.files import CertificateStatus, TlsStatus
from oca.link.tickets import TicketKeys
from oca.worker.openssl import Door, NoDoor
from oca.worker.server_names import Hello, NameTable

if TYPE_CHECKING:
    from cryptography import x509

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 §4.2). TLS 1.3 has no others."""
TICKETS = 2
"""Per full handshake of TLS 1.3: browsers open a second connection and use a ticket once (RFC 8446 §C.4)."""
_WRITES_TO_SOCKET = "_aiofastnet_force_socket_bio"
"""Has the transport write records to the socket, as it does with kernel TLS, without buffers of its own: 17 KiB per idle connection
instead of 49, after a body of 500 kB 18 instead of 292. A transport that does not know it keeps its buffers."""
Stamp = tuple[int, ...]


@dataclass(slots=True)
class Held:
    """One certificate: what was loaded last, and what stands in the way of what lies in its files now."""

    files: Certificate
    stamp: Stamp = ()
    context: ssl.SSLContext | None = None
    names: tuple[str, ...] = ()
    expires_at: float = 0.0
    problem: str = ""


class PlayerCertificates:
    """`poll` it once a second; `context_for` a name. `tickets` is None where sessions cannot be shared (`tickets_reason` says why)."""

    def __init__(
        self,
        settings: PlayerTls,
        tickets: TicketKeys | None,
        tickets_reason: str,
        kernel_reason: str,
        names_folder: str = "",
    ) -> None:
        """`names_folder` holds the certificate of the box's public name (`oca.keeper.names`); empty where none is managed."""
        self._settings = settings
        self._names_folder = names_folder
        self._tickets = tickets
        self._tickets_reason = tickets_reason
        self._kernel_reason = kernel_reason
        self._door: Door | None = None
        if tickets is not None:
            try:
                self._door = Door()
            except NoDoor as error:
                self._tickets_reason = str(error)
        self._keys_number = 0
        self._keys = b""
        self._held: list[Held] = []
        self._table = NameTable(())
        self._in_use: list[ssl.SSLContext] = []
        self._folder_problem = ""

    def context_for(self, name: str | Hello) -> ssl.SSLContext | None:
        """None while no certificate at all can be loaded."""
        return self._in_use[self._table.find(name)] if self._in_use else None

    def poll(self, now: float, *, again: bool = False) -> list[str]:
        """Load what has changed (with `again`, everything). Sentences for the log."""
        sentences = self._poll_keys()
        listed, problem = _listed(self._settings)
        listed += _managed(self._names_folder)
        if problem:
            listed = [one.files for one in self._held]  # what is in use stays
            if problem != self._folder_problem:
                sentences.append(problem)
        self._folder_problem = problem
        held = {one.files: one for one in self._held}
        found = [held.get(files) or Held(files) for files in listed]
        changed = [one for one in found if self._load(one, now, again)]
        if changed or found != self._held:
            self._held = found
            usable = [(one.names, one.context) for one in found if one.context is not None]
            self._table = NameTable([names for names, _context in usable])
            self._in_use = [context for _names, context in usable]
        return sentences + [_sentence(one) for one in changed]

    @property
    def managed_names(self) -> frozenset[bytes]:
        """Public names of this box whose certificate is in use, in lower case."""
        inside = os.path.join(self._names_folder, "") if self._names_folder else None
        held = [one for one in self._held if inside and one.context is not None and one.files.cert.startswith(inside)]
        return frozenset(name.lower().encode() for one in held for name in one.names)

    @property
    def expires_at(self) -> float:
        """When the first certificate in use ends (seconds since the epoch); 0 without any."""
        return min((one.expires_at for one in self._held if one.context is not None), default=0.0)

    @property
    def refused(self) -> int:
        """Certificates whose files cannot be used now; a folder that cannot be read counts as one."""
        return sum(bool(one.problem) for one in self._held) + bool(self._folder_problem)

    @property
    def resumes(self) -> bool:
        return self._door is not None and bool(self._keys)

    @property
    def asks_kernel(self) -> bool:
        return not self._kernel_reason

    def status(self) -> TlsStatus:
        certificates = [CertificateStatus(one.files.cert, one.names, one.expires_at, one.problem) for one in self._held]
        if self._folder_problem:
            certificates.append(CertificateStatus(self._settings.folder, problem=self._folder_problem))
        return TlsStatus(
            openssl=ssl.OPENSSL_VERSION,
            kernel=self.asks_kernel,
            kernel_reason=self._kernel_reason,
            resumption=self.resumes,
            resumption_reason="" if self.resumes else self._tickets_reason,
            certificates=tuple(certificates),
        )

    def _load(self, one: Held, now: float, again: bool) -> bool:
        """True when its files were looked at anew."""
        stamp = _stamp(one.files)
        if stamp == one.stamp and not again:
            return False
        one.stamp = stamp
        try:
            context, names, expires_at = _read(one.files)
            self._prepare(context)
        except (OSError, ValueError, NoDoor) as error:  # ssl.SSLError is an OSError
            one.problem = str(error)
            return True
        one.problem = f"{one.files.cert} has expired" if expires_at <= now else ""
        if not one.problem or expires_at >= one.expires_at:
            one.context, one.names, one.expires_at = context, names, expires_at
        return True

    def _prepare(self, context: ssl.SSLContext) -> None:
        if self._kernel_reason:
            setattr(context, _WRITES_TO_SOCKET, True)
        else:
            context.options |= getattr(ssl, "OP_ENABLE_KTLS", 0)
        if self._door is not None:
            self._door.save_memory(context)
            if self._keys:
                self._door.set_ticket_keys(context, self._keys)

    def _poll_keys(self) -> list[str]:
        """Take the newest ticket keys into every context."""
        found = self._tickets.read() if self._tickets is not None and self._door is not None else None
        if found is None or found[0] == self._keys_number:
            return []
        self._keys_number, self._keys = found
        assert self._door is not None, "without it no keys were read"
        for context in self._in_use:
            self._door.set_ticket_keys(context, self._keys)
        return [f"the ticket keys are number {self._keys_number}"]


def _listed(settings: PlayerTls) -> tuple[list[Certificate], str]:
    """The certificates to be used, in their order, and why the folder could not be read (or empty)."""
    found = list(settings.certificates)
    if not settings.folder:
        return found, ""
    try:
        names = set(os.listdir(settings.folder))
    except OSError as error:
        return found, f"the folder {settings.folder} cannot be read: {error.strerror}"
    for name in sorted(names):
        stem, dot, kind = name.rpartition(".")
        if dot and kind == "crt" and f"{stem}.key" in names:
            found.append(Certificate(os.path.join(settings.folder, name), os.path.join(settings.folder, f"{stem}.key")))
    return found, ""


def _managed(folder: str) -> list[Certificate]:
    """Key and chain in one file each, so that both are exchanged at once. No folder is no name yet."""
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names if name.endswith(".pem") and not name.startswith(".")]
    return [Certificate(path, path) for path in paths]


def _stamp(files: Certificate) -> Stamp:
    """What changes when a file does; a missing one is a state, too."""
    found: list[int] = []
    for path in (files.cert, files.key):
        try:
            stat = os.stat(path)
        except OSError as error:
            found.append(-(error.errno or 1))
        else:
            found += (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return tuple(found)


def _read(files: Certificate) -> tuple[ssl.SSLContext, tuple[str, ...], float]:
    """(context, names, end of validity). Raises OSError or ValueError that says which file is wrong, and how."""
    # Only here: the library costs tens of milliseconds that a worker without TLS need not pay.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with open(files.cert, "rb") as cert_file, open(files.key, "rb") as key_file:
        cert_pem, key_pem = cert_file.read(), key_file.read()
    try:
        certificate = x509.load_pem_x509_certificates(cert_pem)[0]
    except (ValueError, IndexError) as error:
        raise ValueError(f"{files.cert} holds no certificate in PEM form: {error}") from error
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError as error:
        raise ValueError(f"{files.key} is encrypted; a key without a passphrase is needed") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{files.key} holds no private key in PEM form: {error}") from error
    if key.public_key() != certificate.public_key():
        raise ValueError(f"{files.key} is not the key of {files.cert}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # All that are offered are good; the player knows whether it has AES in hardware.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = TICKETS
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.cert, files.key)
    except ssl.SSLError as error:
        raise ValueError(f"{files.cert} with {files.key} is refused by OpenSSL: {error.reason or error}") from error
    return context, _names_of(certificate), certificate.not_valid_after_utc.timestamp()


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def _sentence(one: Held) -> str:
    names = ", ".join(one.names) or "no name"
    if one.context is None:
        return f"no certificate from {one.files.cert}: {one.problem}"
    if one.problem:
        return f"the certificate for {names} stays as it was: {one.problem}"
    return f"{one.files.cert} is shown for {names}"
