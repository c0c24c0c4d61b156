"""A stored response: what a cache keeps beside the bytes, and what it was kept with.

Law: everything that a decision needs is worked out once, when the response is stored or freshened, with the settings of that moment. Reading it
again takes no parsing of header fields.

Row: format u8, then msgpack. A reader that meets another format byte treats the response as not stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

import msgspec

from oca.http.caching.fields import Fields, first
from oca.http.conditions import parse_date

FORMAT = 1
STRONG_AFTER_S = 60.0
"""How far behind `Date` a `Last-Modified` is a strong validator (RFC 9110 §8.8.2.2); as in `oca.http.conditions`."""
_VERSION_BYTES = 16


@dataclass(frozen=True, slots=True)
class Terms:
    """What an operator decides for a delivery service, where responses do not say it themselves."""

    negative_ttl_s: float = 5.0
    """Freshness of 404, 405, 410 and 414; 0 stores none such."""
    server_error_ttl_s: float = 0.0
    """Freshness of 500, 502, 503 and 504. Above 0 it goes beyond RFC 9111 §3 (none of them is heuristically cacheable)."""
    heuristic_ceiling_s: float = 86_400.0
    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0


class LifetimeSource(Enum):
    """Where a freshness lifetime comes from (log word), in the order of §4.2.1."""

    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    NEGATIVE = "negative"
    """`Terms.negative_ttl_s` or `Terms.server_error_ttl_s`."""
    HEURISTIC = "heuristic"
    NONE = "none"
    """Nothing says it, nothing may be guessed: stale at once."""


class Freshness(msgspec.Struct, frozen=True, array_like=True):
    """§4.2 as far as it does not depend on the request or on now. All in seconds."""

    lifetime_s: float
    source: LifetimeSource
    initial_age_s: float
    """`corrected_initial_age` (§4.2.3), at `StoredResponse.received_at`."""
    no_cache: bool = False
    """Never reused without validation."""
    must_revalidate: bool = False
    """Never reused stale: `must-revalidate`, `proxy-revalidate`, or the `s-maxage` in use."""
    immutable: bool = False
    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0
    purged: bool = False
    """Stale since then, whatever its lifetime: validated before it is sent again, but where upstream fails and `stale_if_error_s` allows it."""


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """One response. Header fields are those that may be stored (§3.1), without `Age`, `Content-Length` and `Content-Range`."""

    status: int
    fields: Fields
    vary: tuple[tuple[bytes, bytes | None], ...]
    """The request fields that `Vary` nominates, with their normalised values; None where the request had none."""
    requested_at: float
    received_at: float
    date: float
    """The `Date` of the response; `received_at` where it has none that can be read."""
    freshness: Freshness
    etag: bytes | None = None
    """With its `W/` where it is weak."""
    modified_at: float | None = None
    version: bytes = b""
    size: int | None = None
    """Bytes of the whole representation; None while unknown."""
    tags: tuple[str, ...] = ()

    @property
    def validates(self) -> bool:
        """Whether there is something to make a conditional request of."""
        return self.etag is not None or self.modified_at is not None

    def age_s(self, now_s: float) -> float:
        """`current_age` (§4.2.3). A clock that was set back makes nothing younger than it was on arrival."""
        return self.freshness.initial_age_s + max(0.0, now_s - self.received_at)

    def ttl_s(self, now_s: float) -> float:
        """What is left of its freshness; zero or less when it is stale (§4.2: fresh while the lifetime is greater than the age)."""
        return self.freshness.lifetime_s - self.age_s(now_s)


class ValidatorKind(Enum):
    ETAG = b"e"
    LAST_MODIFIED = b"m"


@dataclass(frozen=True, slots=True)
class Validator:
    """A strong validator (RFC 9110 §8.8.1)."""

    kind: ValidatorKind
    value: bytes
    """As received: an entity tag with its quotes, or a date."""


def strong_validator(fields: Fields) -> Validator | None:
    """A strong entity tag, else a date that a minute's distance from `Date` makes strong (RFC 9110 §8.8.2.2, §8.8.3); None without either.

    An entity tag that is weak or malformed does not keep the date from being strong: each is judged alone.
    """
    etag = read_etag(fields)
    if etag is not None and not etag.startswith(b"W/"):
        return Validator(ValidatorKind.ETAG, etag)
    changed, date = first(fields, b"last-modified"), first(fields, b"date")
    if changed is None or date is None:
        return None
    said = parse_date(date, 0.0)
    modified = None if said is None else parse_date(changed, said)
    if said is None or modified is None or said - modified < STRONG_AFTER_S:
        return None
    return Validator(ValidatorKind.LAST_MODIFIED, changed)


def read_etag(fields: Fields) -> bytes | None:
    """The entity tag; None where there is none, or not exactly one well-formed one."""
    found = [value for name, value in fields if name == b"etag"]
    if len(found) != 1:
        return None
    opaque = found[0].removeprefix(b"W/")
    if len(opaque) < 2 or opaque[:1] != b'"' or opaque[-1:] != b'"' or b'"' in opaque[1:-1]:
        return None
    return found[0] if all(byte > 0x20 and byte != 0x7F for byte in opaque) else None


def version_of(
    validator: Validator, size: int, fields: Fields, vary: tuple[tuple[bytes, bytes | None], ...] = ()
) -> bytes:
    """The name of a version: 16 bytes that are the same wherever the same representation was met.

    Beside the validator it holds size, coding, type and the selecting request fields, so that a server that gives one tag to several
    representations does not have them mixed.
    """
    facts = (
        validator.kind.value,
        validator.value,
        b"%d" % size,
        first(fields, b"content-encoding") or b"",
        first(fields, b"content-type") or b"",
        vary,
    )
    return hashlib.blake2b(_encoder.encode(facts), digest_size=_VERSION_BYTES).digest()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredResponse)


def pack_stored(stored: StoredResponse) -> bytes:
    return bytes((FORMAT,)) + _encoder.encode(stored)


def unpack_stored(value: bytes) -> StoredResponse | None:
    """None when its format is not ours, or it is no row at all."""
    if not value or value[0] != FORMAT:
        return None
    try:
        return _decoder.decode(memoryview(value)[1:])
    except msgspec.MsgspecError:
        return None
