"""Purge rules: what was stored before a rule's epoch and matches it is no longer served. Pure; the format is final.

A rule is numbered, has a kind (object, prefix, tag or all), a mode (soft: stale; hard: gone) and the epoch it introduced: its number is its
epoch, and no epoch is left out. Every extent record carries the epoch that was current when what it was verified against was asked for.
Rules live in the `purge` table until they were swept, and some time longer in `meta`, for disks that were away (`oca.store.purging`).

Tags of media follow from the key (`tags_of`), so that no record has to carry them; what is pulled through carries its own.

Rule (little endian): format u8, kind u8, mode u8, epoch u64, created at f64, text length u16, text.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from contracts.urls import MEDIA_SERVICE

FORMAT = 1
_HEAD = struct.Struct("<BBBQdH")


class PurgeKind(Enum):
    OBJECT = 1
    PREFIX = 2
    TAG = 3
    """What carries the tag: media by `tags_of`, pulled objects by what their origin said."""
    ALL = 4


class PurgeMode(Enum):
    SOFT = 1
    """Stale: to be revalidated before it is served."""
    HARD = 2
    """Gone."""


def tags_of(key: str) -> tuple[str, ...]:
    """The tags that a media file has by its key `vod|/media/TITLE/TIER/FILE`: `title:TITLE`, `tier:TIER`, `group:TITLE/STEM`; others have none."""
    service, _, path = key.partition("|")
    parts = path.split("/")
    if service != MEDIA_SERVICE or len(parts) != 5 or parts[1] != "media":
        return ()
    _, _, title, tier, file = parts
    return f"title:{title}", f"tier:{tier}", f"group:{title}/{file.rpartition('.')[0] or file}"


def object_of(key: str) -> str:
    """The key that people know an object by: bytes of a pulled object lie under `KEY#VERSION`; no other key has a `#`."""
    return key.partition("#")[0]


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """What is to be purged. `text` is the key, the key's prefix, the tag, or empty for all. `trigger`: the control plane's number; 0 for a local one."""

    kind: PurgeKind
    text: str = ""
    mode: PurgeMode = PurgeMode.HARD
    trigger: int = 0


@dataclass(frozen=True, slots=True)
class PurgeRule:
    """An order that was given its epoch. `text` as in the order."""

    number: int
    kind: PurgeKind
    mode: PurgeMode
    epoch: int
    created_at: float
    text: str = ""

    def matches(self, key: str, stored_epoch: int, tags: Collection[str] = ()) -> bool:
        """Whether it forbids what was stored under `key` in that epoch; `tags` beside those that follow from the key."""
        return stored_epoch < self.epoch and self.names(key, tags)

    def names(self, key: str, tags: Collection[str] = ()) -> bool:
        """The same, whenever it was stored. Bytes of pulled objects never turn stale: their objects do."""
        if self.mode is PurgeMode.SOFT and "#" in key:
            return False
        match self.kind:
            case PurgeKind.ALL:
                return True
            case PurgeKind.OBJECT:
                return object_of(key) == self.text
            case PurgeKind.PREFIX:
                return key.startswith(self.text)
            case PurgeKind.TAG:
                return self.text in tags or self.text in tags_of(key)


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

    __slots__ = ("_objects", "_wide", "newest", "rules")

    def __init__(self, rules: Iterable[PurgeRule] = ()) -> None:
        self.rules = tuple(sorted({rule.number: rule for rule in rules}.values(), key=lambda rule: rule.number))
        self.newest = max((rule.epoch for rule in self.rules), default=0)
        self._objects: dict[str, list[PurgeRule]] = {}
        self._wide: list[PurgeRule] = []
        for rule in self.rules:
            known = self._objects.setdefault(rule.text, []) if rule.kind is PurgeKind.OBJECT else self._wide
            known.append(rule)

    def judge(self, key: str, stored_epoch: int, tags: Collection[str] = ()) -> PurgeMode | None:
        """None when no rule matches; HARD beats SOFT. Costs a look-up per object rule at all, and a comparison per wider one."""
        if stored_epoch >= self.newest:
            return None
        close = self._objects.get(object_of(key), ()) if self._objects else ()
        modes = {rule.mode for rules in (close, self._wide) for rule in rules if rule.matches(key, stored_epoch, tags)}
        if PurgeMode.HARD in modes:
            return PurgeMode.HARD
        return PurgeMode.SOFT if modes else None
