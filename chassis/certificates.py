"""X.509 as the CA and enrolment need it: EC P-256 keys, signing requests, a CA, signing.

Laws: a signature takes from the request only its public key, after checking that the requester holds the private one;
name, SAN URI and addresses are the signer's decision. A leaf is never a CA. Every certificate carries the key
identifiers and usages that strict verifiers (Python ≥ 3.13) ask for.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis.errors import CertificateError
from contracts.enrolment import fingerprint

SKEW_S = 300.0
DAY_S = 86400.0
PrivateKey = ec.EllipticCurvePrivateKey


def make_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted: write it with `write_private`."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> PrivateKey:
    """Raises CertificateError unless it is an EC P-256 private key."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"not a private key in PEM form: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the private key is not an EC key on P-256")
    return key


def load_certificate(pem: str | bytes) -> x509.Certificate:
    """Raises CertificateError when it is not a certificate."""
    try:
        return x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    except ValueError as error:
        raise CertificateError(f"not a certificate in PEM form: {error}") from error


def certificate_to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_csr(key: PrivateKey, uri: str, addresses: Iterable[str] = ()) -> str:
    """A signing request (PEM) that asks for a SAN URI and for host names and IP addresses."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(uri.rpartition("/")[2]))
    builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(uri, addresses)), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def make_ca(key: PrivateKey, name: str, now: float, days: float = 3650.0) -> str:
    """A self-signed CA certificate (PEM) that may sign leaves only."""
    builder = _builder(_name(name), _name(name), key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return certificate_to_pem(builder.sign(key, hashes.SHA256()))


def sign_csr(
    csr_pem: str,
    *,
    ca_pem: str,
    ca_key: PrivateKey,
    uri: str,
    addresses: Iterable[str] = (),
    now: float,
    days: float = 90.0,
) -> str:
    """A certificate (PEM) for server and client use that says `uri` and `addresses`.

    Nothing but the public key is taken from the request. Raises CertificateError when it is malformed, not signed by its
    own key, or not for EC P-256.
    """
    public = _requested_key(csr_pem)
    ca = load_certificate(ca_pem)
    builder = _builder(_name(uri.rpartition("/")[2]), ca.subject, public, now, days)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectAlternativeName(_alternatives(uri, addresses)), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return certificate_to_pem(builder.sign(ca_key, hashes.SHA256()))


def ca_fingerprint(ca_pem: str) -> str:
    """What an enrolment code carries of the CA (contracts.enrolment)."""
    return fingerprint(load_certificate(ca_pem).public_bytes(serialization.Encoding.DER))


def san_uris(certificate_pem: str) -> tuple[str, ...]:
    try:
        names = load_certificate(certificate_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier))


def expires_at(certificate_pem: str) -> float:
    """Seconds since the epoch."""
    return load_certificate(certificate_pem).not_valid_after_utc.timestamp()


def write_private(path: Path, data: bytes) -> None:
    """Writes a secret readable by its owner only, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _requested_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        valid = request.is_signature_valid
        public = request.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CertificateError(f"not a signing request in PEM form: {error}") from error
    if not valid:
        raise CertificateError("the signing request is not signed by its own key")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise CertificateError("the signing request is not for an EC key on P-256")
    return public


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: float, days: float
) -> x509.CertificateBuilder:
    start = datetime.datetime.fromtimestamp(now - SKEW_S, datetime.UTC)
    end = datetime.datetime.fromtimestamp(now + days * DAY_S, datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternatives(uri: str, addresses: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(_dns_name(address))
    return names


def _dns_name(text: str) -> x509.DNSName:
    try:
        return x509.DNSName(text.encode("ascii").decode())
    except ValueError as error:
        raise CertificateError(f"{text!r} is neither an IP address nor a host name") from error


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
