"""Purge rules: what was stored before a rule's epoch and matches it is no longer served. Pure; the format is final.

A rule is numbered, has a kind (object, prefix, tag or all), a mode (soft: stale; hard: gone) and the epoch it introduced. Every extent
record carries the epoch that was current when its fetch began. Rules live in the `purge` table until they were swept.

Rule (little endian): format u8, kind u8, mode u8, epoch u64, created at f64, text length u16, text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

FORMAT = 1
_HEAD = struct.Struct("<BBBQdH")


class PurgeKind(Enum):
    OBJECT = 1
    PREFIX = 2
    TAG = 3
    """Has its place in the format; no record carries tags yet, so it matches nothing."""
    ALL = 4


class PurgeMode(Enum):
    SOFT = 1
    """Stale: to be revalidated before it is served."""
    HARD = 2
    """Gone."""


@dataclass(frozen=True, slots=True)
class PurgeRule:
    """`text` is the key, the key's prefix, or empty for all."""

    number: int
    kind: PurgeKind
    mode: PurgeMode
    epoch: int
    created_at: float
    text: str = ""

    def matches(self, key: str, stored_epoch: int) -> bool:
        if stored_epoch >= self.epoch:
            return False
        if self.kind is PurgeKind.ALL:
            return True
        if self.kind is PurgeKind.OBJECT:
            # Bytes of a pulled object lie under `KEY#VERSION`; no other key has a `#`.
            return key == self.text or key.partition("#")[0] == self.text
        return self.kind is PurgeKind.PREFIX and key.startswith(self.text)


def pack_rule(rule: PurgeRule) -> bytes:
    text = rule.text.encode()
    head = _HEAD.pack(FORMAT, rule.kind.value, rule.mode.value, rule.epoch, rule.created_at, len(text))
    return head + text


def unpack_rule(number: int, value: bytes) -> PurgeRule:
    """Raises ValueError for another format: a rule that cannot be read must not be passed over in silence."""
    if len(value) < _HEAD.size or value[0] != FORMAT:
        raise ValueError(f"purge rule {number} has an unknown format")
    _, kind, mode, epoch, created_at, length = _HEAD.unpack_from(value)
    text = value[_HEAD.size : _HEAD.size + length].decode()
    return PurgeRule(number, PurgeKind(kind), PurgeMode(mode), epoch, created_at, text)


class PurgeRules:
    """The live rules, as one judge. `newest` is the highest epoch among them, 0 without rules."""

    __slots__ = ("newest", "rules")

    def __init__(self, rules: Iterable[PurgeRule] = ()) -> None:
        self.rules = tuple(sorted({rule.number: rule for rule in rules}.values(), key=lambda rule: rule.number))
        self.newest = max((rule.epoch for rule in self.rules), default=0)

    def judge(self, key: str, stored_epoch: int) -> PurgeMode | None:
        """None when no rule matches; HARD beats SOFT."""
        if stored_epoch >= self.newest:
            return None
        modes = {rule.mode for rule in self.rules if rule.matches(key, stored_epoch)}
        if PurgeMode.HARD in modes:
            return PurgeMode.HARD
        return PurgeMode.SOFT if modes else None
