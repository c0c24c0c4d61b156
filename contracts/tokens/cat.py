"""Media tokens as Common Access Tokens (CTA-5007): a CWT (RFC 8392) in a COSE_Sign1 (RFC 9052 §4.2), base64url without padding.

The envelope is read by hand, because it is what strangers send: `18([protected, {}, payload, signature])`, with or without the CWT tag 61,
in definite lengths and shortest form; the unprotected header is empty, so that every byte of a token is signed or fixed. The protected header
and, once the signature holds, the claims are read by cbor2 without any of its extensions.

What is enforced: `exp`, `nbf`, `aud`, `sub` (revocation), `catu` in the forms of `_scope`, `catm` when it allows what players do, `catv` 1,
`catreplay` 0. Every other claim refuses the token: CTA-5007 asks for it where a claim is not understood, and here also where one restricts and is
understood (`catnip`, `catgeo…`, `cath`, `catalpn`, `cattpk`, `catpor`, `catif`, …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import cbor2
import msgspec

from contracts.keys import PublicKey
from contracts.tokens.claims import (
    MediaClaims,
    TokenRefusal,
    TokenRefused,
    check_audience,
    check_length,
    tiers_pattern,
)
from contracts.tokens.signatures import Envelope, SigningKey, opened, signature_of
from contracts.tokens.text import from_base64url, to_base64url
from contracts.urls import is_name

ES256, EDDSA = -7, -8
"""RFC 9053 §2.1, §2.2."""
_ALGORITHMS = {ES256: ("ES256",), EDDSA: ("EdDSA", "Ed25519")}
_ALG, _CRIT, _CONTENT_TYPE, _KID, _TYPE = 1, 2, 3, 4, 16
_HEADER_NAMES = {_ALG: "alg", _CRIT: "crit", _CONTENT_TYPE: "content type", _KID: "kid", _TYPE: "typ"}
_SIGN1 = b"\xd2\x84"
_CWT = b"\xd8\x3d"
_MAC0 = b"\xd1\x84"
_EMPTY_MAP = 0xA0

ISS, SUB, AUD, EXP, NBF, IAT, CTI = 1, 2, 3, 4, 5, 6, 7
CATREPLAY, CATV, CATU, CATM = 308, 310, 312, 313
NAMES = {
    ISS: "iss", SUB: "sub", AUD: "aud", EXP: "exp", NBF: "nbf", IAT: "iat", CTI: "cti", 8: "cnf", CATREPLAY: "catreplay",
    309: "catpor", CATV: "catv", 311: "catnip", CATU: "catu", CATM: "catm", 314: "catalpn", 315: "cath",
    316: "catgeoiso3166", 317: "catgeocoord", 318: "catgeoalt", 319: "cattpk", 320: "catifdata", 321: "catdpop", 322: "catif",
    323: "catr", 324: "cattprint",
}  # fmt: skip
"""CWT and CTA-5007 claims by their number."""
_PATH, _PREFIX, _REGEX = 3, 1, 4
_TOKEN_VERSION = 1
_PLAYERS_METHODS = frozenset(("GET", "HEAD"))
_BUILT_IN_TAGS = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 43, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_MAX_DEPTH = 8


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    exp: int | float
    iat: int | float
    catu: dict[int, dict[int, str | tuple[str | None, ...]]]
    nbf: int | float | None = None
    aud: str | tuple[str, ...] | None = None
    cti: bytes = b""
    catv: int = _TOKEN_VERSION
    catm: tuple[str, ...] = ("GET", "HEAD")
    catreplay: int = 0


def sign(claims: MediaClaims, key: SigningKey, kid: str, alg: str = "ES256") -> str:
    """A COSE_Sign1 of the claims under the CWT tag. Raises ValueError when the key does not sign with `alg`."""
    body: dict[int, Any] = {
        ISS: claims.issuer,
        SUB: claims.session,
        EXP: _shortest(claims.expires_at),
        IAT: _shortest(claims.issued_at),
        CATV: _TOKEN_VERSION,
        CATU: {_PATH: {_PREFIX: claims.prefix, _REGEX: [path_pattern(claims.prefix, claims.tiers)]}},
    }
    if claims.not_before is not None:
        body[NBF] = _shortest(claims.not_before)
    number = next((number for number, names in _ALGORITHMS.items() if alg in names), 0)
    protected = cbor2.dumps({_ALG: number, _KID: kid.encode()})
    payload = cbor2.dumps(body)
    signature = signature_of(_to_be_signed(protected, payload), key, alg)
    parts = cbor2.dumps(protected) + bytes((_EMPTY_MAP,)) + cbor2.dumps(payload) + cbor2.dumps(signature)
    return to_base64url(_CWT + _SIGN1 + parts)


def verify(token: str, keys: Mapping[str, PublicKey]) -> MediaClaims:
    """The claims of a token whose signature holds. Expiry and scope are `MediaClaims.check`'s. Raises TokenRefused."""
    return _read(opened(_unwrapped(token), keys))


def shown(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand there, by name, unverified. Raises TokenRefused."""
    protected, payload, _ = _parts(token)
    header = {_HEADER_NAMES.get(number, str(number)): value for number, value in _map(_decoded(protected)).items()}
    alg = header.get("alg")
    header["alg"] = _ALGORITHMS[alg][0] if alg in (ES256, EDDSA) else str(alg)
    header |= {name: value.decode("ascii", "replace") for name, value in header.items() if isinstance(value, bytes)}
    return header, {NAMES.get(number, str(number)): value for number, value in _map(_decoded(payload)).items()}


def path_pattern(prefix: str, tiers: tuple[str, ...]) -> str:
    """The regular expression over a path (token removed) that says the tiers in `catu`."""
    return f"^{tiers_pattern(prefix, tiers)}/[^/]+$"


def _unwrapped(token: str) -> Envelope:
    check_length(token)
    protected, payload, signature = _parts(token)
    alg, kid = _header(protected)
    return Envelope(_ALGORITHMS[alg], kid, _to_be_signed(protected, payload), payload, signature)


def _parts(token: str) -> tuple[bytes, bytes, bytes]:
    """Protected header, payload, signature. Raises TokenRefused."""
    try:
        raw = from_base64url(token)
    except ValueError as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error
    at = len(_CWT) if raw.startswith(_CWT) else 0
    if raw.startswith(_MAC0, at):
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token is authenticated by a shared secret")
    if not raw.startswith(_SIGN1, at):
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is neither a JWT nor a COSE_Sign1")
    protected, at = _byte_string(raw, at + len(_SIGN1))
    if raw[at : at + 1] != bytes((_EMPTY_MAP,)):
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token has a header that is not signed")
    payload, at = _byte_string(raw, at + 1)
    signature, at = _byte_string(raw, at)
    if at != len(raw):
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed: bytes behind its end")
    return protected, payload, signature


def _read(payload: bytes) -> MediaClaims:
    found = {NAMES.get(number, f"claim {number}"): value for number, value in _map(_decoded(payload)).items()}
    for name in found:
        if name not in _Claims.__struct_fields__:
            _unenforced(name)
    try:
        body = msgspec.convert(found, _Claims)
    except msgspec.ValidationError as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token's claims are malformed") from error
    if body.catv != _TOKEN_VERSION:
        _unenforced(f"catv {body.catv}")
    if body.catreplay != 0:
        _unenforced("catreplay")
    if not _PLAYERS_METHODS.issubset(body.catm):
        _unenforced("catm")
    check_audience(body.aud)
    return MediaClaims.checked(
        issuer=body.iss,
        session=body.sub,
        scope=_scope(body.catu),
        expires_at=body.exp,
        issued_at=body.iat,
        not_before=body.nbf,
    )


def _scope(catu: dict[int, dict[int, str | tuple[str | None, ...]]]) -> tuple[str, tuple[str, ...]]:
    """Prefix and tiers of `catu`: a path prefix with our pattern of tiers, or a path prefix down to one tier."""
    if catu.keys() != {_PATH}:
        _unenforced("a part of the address other than its path (catu)")
    matches = catu[_PATH]
    prefix, pattern = matches.get(_PREFIX), matches.get(_REGEX)
    if not isinstance(prefix, str) or not matches.keys() <= {_PREFIX, _REGEX}:
        _unenforced("another match of the path than its prefix (catu)")
    if pattern is None:
        title, _, tier = prefix.rstrip("/").rpartition("/")
        if not prefix.endswith("/") or not is_name(tier) or not title.startswith("/media/"):
            _unenforced("a prefix that names no tier (catu)")
        return f"{title}/", (tier,)
    text = pattern[0] if isinstance(pattern, tuple) and len(pattern) == 1 else None
    inner = re.fullmatch(r"[^()]*\(([^()]+)\)/\[\^/\]\+\$", text) if text is not None else None
    tiers = tuple(part.replace("\\", "") for part in inner[1].split("|")) if inner is not None else ()
    if text != path_pattern(prefix, tiers):
        _unenforced("a pattern of another form than this service signs (catu)")
    return prefix, tiers


def _header(protected: bytes) -> tuple[int, str]:
    """Algorithm and key of a protected header."""
    header = _map(_decoded(protected))
    alg, kid = header.get(_ALG), header.get(_KID)
    if type(alg) is not int or alg not in (ES256, EDDSA):
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's algorithm is not accepted")
    if _CRIT in header:
        raise TokenRefused(TokenRefusal.UNENFORCED, "the media token's header has extensions that must be understood")
    if not header.keys() <= {_ALG, _KID, _CONTENT_TYPE, _TYPE}:
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's header says more than algorithm and key")
    if not isinstance(kid, bytes) or not kid.isascii():
        raise TokenRefused(TokenRefusal.KEY_UNKNOWN, "the media token names no key")
    return alg, kid.decode("ascii")


def _decoded(data: bytes) -> object:
    """One item of plain CBOR: no tags, no indefinite lengths, no key twice. Raises TokenRefused."""
    try:
        return cbor2.loads(
            data,
            tag_hook=_no_tag,
            semantic_decoders=dict.fromkeys(_BUILT_IN_TAGS, _no_tag),
            max_depth=_MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error


def _no_tag(*_decoder: object) -> NoReturn:
    raise cbor2.CBORDecodeError("tags have no place here")


def _map(item: object) -> dict[int, Any]:
    if not isinstance(item, dict):
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed")
    if not all(type(name) is int for name in item):
        _unenforced("a claim without a number")
    return item


def _byte_string(raw: bytes, at: int) -> tuple[bytes, int]:
    """The byte string at `at` (RFC 8949 §3.1, shortest form) and where it ends. Raises TokenRefused."""
    first = raw[at] if at < len(raw) else 0
    width = {0x58: 1, 0x59: 2}.get(first, 0)
    begin = at + 1 + width
    length = int.from_bytes(raw[at + 1 : begin], "big") if width else first - 0x40
    is_shortest = length >= (0, 24, 256)[width]
    if not (0x40 <= first < 0x58 or width) or not is_shortest or begin + length > len(raw):
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed: a byte string is missing")
    return raw[begin : begin + length], begin + length


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """RFC 9052 §4.4, `Sig_structure` with an empty external part."""
    return cbor2.dumps(["Signature1", protected, b"", payload])


def _shortest(at: float) -> int | float:
    return int(at) if at == int(at) else at


def _unenforced(what: str) -> NoReturn:
    raise TokenRefused(TokenRefusal.UNENFORCED, f"the media token restricts by {what}, not enforced here")
