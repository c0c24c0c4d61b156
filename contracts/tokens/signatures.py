"""Signatures of media tokens: ES256 (ECDSA on P-256 with SHA-256) and EdDSA on Ed25519, and nothing else (RFC 8725 §3.1).

Laws
- The algorithm is that of the published key. What a token says of its algorithm is compared with it, never followed.
- A token is an `Envelope` until its signature holds; only then is its payload read.
- JOSE (RFC 7518 §3.4, RFC 8037) and COSE (RFC 9053 §2) write the same 64 bytes, so that both formats share this module.
- Private keys are only ever read where something is signed; what verifies knows public ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from contracts.keys import KeyUse, PublicKey
from contracts.tokens.claims import TokenRefusal, TokenRefused
from contracts.tokens.text import from_base64url, to_base64url

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey

ALGORITHMS = ("ES256", "EdDSA", "Ed25519")
"""`Ed25519` is the name that RFC 9864 gives to what `EdDSA` means here."""
SIGNATURE_BYTES = 64
NAME_CHARS = 16
_HALF = SIGNATURE_BYTES // 2
_LOADED_KEYS = 64

Private: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey
SigningKey: TypeAlias = "Private | ECKey | OKPKey"
"""A private key, or a JWK object that holds one."""


class _PrivateJwk(msgspec.Struct):
    kty: str
    crv: str
    d: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """A token of either format whose signature nobody has checked yet."""

    algorithms: tuple[str, ...]
    """What the key's algorithm may be called, by the token's header."""
    kid: str
    message: bytes
    """What was signed."""
    payload: bytes
    signature: bytes


def opened(envelope: Envelope, keys: Mapping[str, PublicKey]) -> bytes:
    """The payload of a token that the key it names has signed. Raises TokenRefused."""
    key = keys.get(envelope.kid)
    if key is None:
        raise TokenRefused(TokenRefusal.KEY_UNKNOWN, "the media token names an unknown key")
    if key.alg not in envelope.algorithms:
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's algorithm is not that of its key")
    _check_signature(key, envelope.message, envelope.signature)
    return envelope.payload


def signature_of(message: bytes, key: SigningKey, alg: str, *, repeatable: bool = False) -> bytes:
    """64 bytes, the same each time where `repeatable` (RFC 6979). Raises ValueError for an algorithm that is not the key's, or none of this service."""
    private = private_part(key)
    if alg not in algorithms_of(private):
        raise ValueError(f"{alg} is not an asymmetric algorithm of this service for this key")
    if isinstance(private, Ed25519PrivateKey):
        return private.sign(message)
    r, s = decode_dss_signature(private.sign(message, ECDSA(SHA256(), deterministic_signing=repeatable)))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def private_part(key: SigningKey) -> Private:
    """Raises ValueError when there is none, or not on one of the two curves."""
    private = key if isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey) else key.private_key
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return private
    if isinstance(private, Ed25519PrivateKey):
        return private
    raise ValueError("is no private key on P-256 or Ed25519")


def read_private(data: bytes) -> Private:
    """A private key from PEM (PKCS #8 or SEC 1, without a password) or a JWK (RFC 7517). Raises ValueError in words."""
    if data.lstrip().startswith(b"{"):
        return _private_from_jwk(data)
    try:
        found = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("is neither a PEM without a password nor a JWK") from error
    if isinstance(found, EllipticCurvePrivateKey | Ed25519PrivateKey):
        return private_part(found)
    raise ValueError("is no private key on P-256 or Ed25519")


def published(key: Private, kid: str, use: KeyUse, alg: str) -> PublicKey:
    """What may be known of a private key."""
    public = key.public_key()
    if isinstance(public, EllipticCurvePublicKey):
        numbers = public.public_numbers()
        x, y = (to_base64url(part.to_bytes(_HALF, "big")) for part in (numbers.x, numbers.y))
        return PublicKey(kid, use, alg, {"kty": "EC", "crv": "P-256", "x": x, "y": y})
    return PublicKey(kid, use, alg, {"kty": "OKP", "crv": "Ed25519", "x": to_base64url(public.public_bytes_raw())})


def name_of(key: Private) -> str:
    """The `kid` that services give to a media key of theirs: the beginning of its thumbprint (RFC 7638)."""
    jwk = published(key, "", KeyUse.MEDIA, "").jwk
    thumbprint = sha256(msgspec.json.encode(jwk, order="sorted")).digest()
    return f"{KeyUse.MEDIA.value}-{to_base64url(thumbprint)[:NAME_CHARS]}"


def algorithms_of(key: Private) -> tuple[str, ...]:
    """The names a key may sign under; the first is the usual one."""
    return ("ES256",) if isinstance(key, EllipticCurvePrivateKey) else ("EdDSA", "Ed25519")


def _check_signature(key: PublicKey, message: bytes, signature: bytes) -> None:
    """Raises TokenRefused unless the key has signed the message."""
    jwk = key.jwk
    try:
        public = _public(key.alg, jwk.get("kty", ""), jwk.get("crv", ""), jwk.get("x", ""), jwk.get("y", ""))
    except ValueError as error:
        raise TokenRefused(TokenRefusal.KEY_UNKNOWN, f"the published key {key.kid} cannot be used: {error}") from error
    try:
        if len(signature) != SIGNATURE_BYTES:
            raise InvalidSignature
        if isinstance(public, EllipticCurvePublicKey):
            r, s = (int.from_bytes(signature[at : at + _HALF], "big") for at in (0, _HALF))
            public.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
        else:
            public.verify(signature, message)
    except InvalidSignature as error:
        raise TokenRefused(TokenRefusal.SIGNATURE, "the media token's signature is wrong") from error


def _private_from_jwk(data: bytes) -> Private:
    try:
        jwk = msgspec.json.decode(data, type=_PrivateJwk)
        secret = from_base64url(jwk.d)
        if (jwk.kty, jwk.crv) == ("EC", "P-256"):
            return derive_private_key(int.from_bytes(secret, "big"), SECP256R1())
        if (jwk.kty, jwk.crv) == ("OKP", "Ed25519"):
            return Ed25519PrivateKey.from_private_bytes(secret)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"is no private JWK: {error}") from error
    raise ValueError("is no private key on P-256 or Ed25519")


@lru_cache(_LOADED_KEYS)
def _public(alg: str, kty: str, crv: str, x: str, y: str) -> EllipticCurvePublicKey | Ed25519PublicKey:
    """Raises ValueError for what is no public key of this algorithm."""
    if alg == "ES256" and (kty, crv) == ("EC", "P-256"):
        point = tuple(int.from_bytes(from_base64url(part), "big") for part in (x, y))
        return EllipticCurvePublicNumbers(point[0], point[1], SECP256R1()).public_key()
    if alg in ("EdDSA", "Ed25519") and (kty, crv) == ("OKP", "Ed25519"):
        return Ed25519PublicKey.from_public_bytes(from_base64url(x))
    raise ValueError(f"kty {kty!r}, crv {crv!r} is no asymmetric key for {alg!r}")
