"""What a disk's index keeps of a pulled-through object: one row per service key with all its variants. Pure.

Bytes lie in extents under a key of their own for each version; this row says which versions there are, and carries what was
answered with them. Freshness is here, at the object, never at a block. The row is written by the keeper and read by workers in one look-up.

Row: format u8, then msgpack. A reader that meets another format byte treats the row as absent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from oca.store.purge import PurgeMode

FORMAT = 1
MAX_VARIANTS = 16
"""Of one key; the one that was stored first makes way."""


class PulledVariant(msgspec.Struct, frozen=True, array_like=True):
    """One stored answer. `response` is opaque here (`oca.http`)."""

    version: bytes
    size: int
    epoch: int
    """The purge epoch when its fetch began, or when it was validated last."""
    stored_at: float
    response: bytes
    tags: tuple[str, ...] = ()
    stale: bool = False
    """A soft purge has been here: to be validated before it is served."""


class PulledObject(msgspec.Struct, frozen=True, array_like=True):
    key: str
    variants: tuple[PulledVariant, ...] = ()

    def with_variant(self, variant: PulledVariant, replaces: bytes | None = None) -> PulledObject:
        """The same with one more; of the version `replaces`, and of its own, nothing stays."""
        kept = [v for v in self.variants if v.version not in (variant.version, replaces)]
        return PulledObject(self.key, (*kept, variant)[-MAX_VARIANTS:])

    def without(self, version: bytes) -> PulledObject:
        return PulledObject(self.key, tuple(v for v in self.variants if v.version != version))


Verdict = Callable[[str, PulledVariant], PurgeMode | None]


def behind(found: PulledObject, verdict: Verdict, epoch: int) -> PulledObject:
    """The object as a purge leaves it that was ordered in `epoch`: variants gone, or marked as stale so that they stay so when the rule is retired."""
    judged = [(variant, verdict(found.key, variant)) for variant in found.variants]
    return PulledObject(
        found.key,
        tuple(
            variant if mode is None else msgspec.structs.replace(variant, epoch=epoch, stale=True)
            for variant, mode in judged
            if mode is not PurgeMode.HARD
        ),
    )


def bytes_key(key: str, version: bytes) -> str:
    """The key under which the bytes of a version lie (`oca.http.keys`)."""
    return f"{key}#{version.hex()}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PulledObject)


def pack_pulled(found: PulledObject) -> bytes:
    return bytes((FORMAT,)) + _encoder.encode(found)


def unpack_pulled(value: bytes) -> PulledObject | None:
    """None when its format is not ours, or it is no row at all."""
    if not value or value[0] != FORMAT:
        return None
    try:
        return _decoder.decode(memoryview(value)[1:])
    except msgspec.MsgspecError:
        return None
