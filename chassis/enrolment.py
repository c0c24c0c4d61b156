"""How a service or an appliance gets its certificate from the control plane, and keeps it (contracts.enrolment).

The key is made here and never leaves. The CA is fetched without trust, compared with the fingerprint in the code, and from
then on verifies TLS. What is kept: `key.pem` (mode 0600), `certificate.pem`, `ca.pem`. A process that has them does not
enrol again.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from chassis import certificates
from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import CertificateError, Retry, ServiceError
from chassis.logs import get_logger
from chassis.tls import TlsFiles, client_context
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri, split_code

RENEW_BEFORE_S = 7 * certificates.DAY_S


def kept_files(folder: Path) -> TlsFiles:
    """Where an enrolled process keeps what it got."""
    return TlsFiles(folder / "certificate.pem", folder / "key.pem", folder / "ca.pem")


def is_enrolled(folder: Path, now: float) -> bool:
    """True when the folder holds a key, a CA and a certificate that has not expired."""
    files = kept_files(folder)
    if not (files.key.exists() and files.certificate.exists() and files.ca and files.ca.exists()):
        return False
    return certificates.expires_at(files.certificate.read_text()) > now


async def enrol(
    control_plane_url: str,
    code: str,
    *,
    kind: PeerKind,
    name: str,
    folder: Path,
    addresses: tuple[str, ...] = (),
    timeout_s: float = 10.0,
) -> TlsFiles:
    """Trades the one-time code for a certificate and keeps it in `folder`.

    `control_plane_url` is the `mtls` listener, `addresses` the names and IP addresses that others will dial. Raises
    CertificateError (the CA or the answer is not what the code or we said) and ServiceError (refused or unreachable).
    """
    secret, wanted = _split(code)
    ca_pem = await _fetch_ca(control_plane_url, timeout_s)
    if certificates.ca_fingerprint(ca_pem) != wanted:
        raise CertificateError(
            f"{control_plane_url} shows another CA than the enrolment code names: wrong address, or somebody in between"
        )
    key = certificates.make_key()
    request = EnrolRequest(secret, certificates.make_csr(key, san_uri(kind, name), addresses), addresses)
    async with ServiceClient(control_plane_url, ssl=client_context(ca_pem=ca_pem), timeout_s=timeout_s) as client:
        answer = await client.post("/v1/enrol", request, EnrolAnswer)
    if (answer.kind, answer.name) != (kind, name):
        raise CertificateError(f"the code is for {answer.kind.value} {answer.name}, not for {kind.value} {name}")
    if certificates.load_certificate(answer.certificate_pem).public_key() != key.public_key():
        raise CertificateError(f"{control_plane_url} answered with a certificate for another key")
    return _keep(folder, key, answer.certificate_pem, ca_pem)


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
    code = _read_code(code_file, name)
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


def _read_code(code_file: Path | None, name: str) -> str:
    if code_file is None:
        raise CertificateError(f"{name} is not enrolled and no enrolment code is set (enrolment.code_file)")
    try:
        return code_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(f"{code_file}: the enrolment code cannot be read: {error}") from error


def _keep(folder: Path, key: certificates.PrivateKey, certificate_pem: str, ca_pem: str) -> TlsFiles:
    files = kept_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    certificates.write_private(files.key, certificates.key_to_pem(key))
    (folder / "ca.pem").write_text(ca_pem)
    files.certificate.write_text(certificate_pem)
    return files
