"""How a service or an appliance gets its certificate from the control plane, and keeps it (contracts.enrolment).

Laws: the key is made here, kept with mode 0600 and never leaves. The CA is fetched without trust, compared with the
fingerprint in the code, and from then on verifies TLS. What is kept: `key.pem`, `ca.pem`, `cert.pem`, each written whole and
renamed, the certificate last: a folder with a certificate is complete. The key is kept before the code is spent, so that
a repeated request after a lost answer is for the same key. A process that has a certificate does not enrol again.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from chassis import certificates
from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import CertificateError, Retry, ServiceError
from chassis.logs import get_logger
from chassis.tls import TlsFiles, client_context
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri, split_code


def kept_files(folder: Path) -> TlsFiles:
    """Where an enrolled process keeps what it got."""
    return TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")


def is_enrolled(folder: Path, now: float) -> bool:
    """True when the folder holds a key, a CA and a certificate that has not expired. Raises CertificateError when unreadable."""
    files = kept_files(folder)
    if not (files.key.exists() and files.certificate.exists() and files.ca and files.ca.exists()):
        return False
    return certificates.expires_at(files.certificate.read_text()) > now


def enrolled_name(folder: Path, kind: PeerKind) -> str:
    """The name in the kept certificate. Raises CertificateError when there is none, or it is for another kind."""
    path = kept_files(folder).certificate
    try:
        uris = certificates.san_uris(path.read_text())
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    prefix = san_uri(kind, "")
    names = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if len(names) != 1 or not names[0]:
        raise CertificateError(
            f"{path} is no certificate of a Lowtide {kind.value}: it says {', '.join(uris) or 'nothing'}"
        )
    return names[0]


async def enrol(
    control_plane_url: str,
    code: str,
    *,
    kind: PeerKind,
    folder: Path,
    name: str | None = None,
    addresses: tuple[str, ...] = (),
    timeout_s: float = 10.0,
) -> TlsFiles:
    """Trades the one-time code for a certificate and keeps it in `folder`.

    `control_plane_url` is the `mtls` listener, `addresses` the names and IP addresses that others will dial, `name` what the
    code must be for (None: whatever it is for). Raises CertificateError (the CA or the answer is not what the code or we
    said) and ServiceError (refused or unreachable); nothing but a key was kept then.
    """
    secret, wanted = _split(code)
    ca_pem = await _fetch_ca(control_plane_url, timeout_s)
    if certificates.ca_fingerprint(ca_pem) != wanted:
        raise CertificateError(
            f"{control_plane_url} shows another CA than the enrolment code names: wrong address, or somebody in between"
        )
    key = _key(folder)
    request = EnrolRequest(secret, certificates.make_csr(key, san_uri(kind, name or "newcomer"), addresses), addresses)
    async with ServiceClient(control_plane_url, ssl=client_context(ca_pem=ca_pem), timeout_s=timeout_s) as client:
        answer = await client.post("/v1/enrol", request, EnrolAnswer)
    if answer.kind is not kind or (name is not None and answer.name != name):
        raise CertificateError(
            f"the code is for {answer.kind.value} {answer.name}, not for {kind.value} {name or '(any name)'}"
        )
    if certificates.load_certificate(answer.certificate_pem).public_key() != key.public_key():
        raise CertificateError(f"{control_plane_url} answered with a certificate for another key")
    return _keep(folder, answer.certificate_pem, ca_pem)


async def ensure_enrolled(
    control_plane_url: str,
    code_file: Path | None,
    *,
    kind: PeerKind,
    name: str,
    folder: Path,
    addresses: tuple[str, ...] = (),
    clock: Clock = SYSTEM_CLOCK,
    patience_s: float = 60.0,
) -> TlsFiles:
    """What is kept in `folder`, or enrols with the code in `code_file`, which is deleted after it was used.

    Waits up to `patience_s` for a control plane that does not answer yet. Raises CertificateError and ServiceError.
    """
    if is_enrolled(folder, clock.wall_s()):
        return kept_files(folder)
    code = read_code(code_file, name)
    until_s = clock.monotonic_s() + patience_s
    while True:
        try:
            files = await enrol(control_plane_url, code, kind=kind, name=name, folder=folder, addresses=addresses)
        except ServiceError as error:
            if error.retry is Retry.NO or clock.monotonic_s() >= until_s:
                raise
            get_logger("chassis.enrolment").info("enrolment-waits", detail=str(error))
            await clock.sleep(1.0)
        else:
            get_logger("chassis.enrolment").info("enrolled", kind=kind.value, name=name)
            if code_file is not None:
                code_file.unlink(missing_ok=True)
            return files


def read_code(code_file: Path | None, who: str) -> str:
    """The code in the file. Raises CertificateError saying what to do when there is none."""
    if code_file is None:
        raise CertificateError(f"{who} is not enrolled and no enrolment code is set (code_file)")
    try:
        return code_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(f"{code_file}: the enrolment code cannot be read: {error}") from error


async def _fetch_ca(url: str, timeout_s: float) -> str:
    untrusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    untrusting.check_hostname = False
    untrusting.verify_mode = ssl.CERT_NONE
    async with ServiceClient(url, ssl=untrusting, timeout_s=timeout_s) as client:
        return (await client.get("/v1/ca", CaAnswer)).ca_pem


def _split(code: str) -> tuple[str, str]:
    try:
        return split_code(code)
    except ValueError as error:
        raise CertificateError(str(error)) from error


def _key(folder: Path) -> certificates.PrivateKey:
    """The key that is kept already, or a new one that is kept now."""
    path = kept_files(folder).key
    try:
        return certificates.load_key(path.read_bytes())
    except FileNotFoundError:
        key = certificates.make_key()
        certificates.write_private(path, certificates.key_to_pem(key))
        return key
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _keep(folder: Path, certificate_pem: str, ca_pem: str) -> TlsFiles:
    files = kept_files(folder)
    _write_public(folder / "ca.pem", ca_pem)
    _write_public(files.certificate, certificate_pem)
    return files


def _write_public(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
