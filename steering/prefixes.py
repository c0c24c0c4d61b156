"""Which sites announce the networks a client's address lies in: longest prefix first.

The table is a dictionary per prefix length, cut into shards. Laws
- a table never changes once made; `edit` gives an editor that copies only the shards it touches, so that a change of a hundred
  prefixes among half a million costs about a millisecond, and the old table goes on answering;
- a look-up asks each announced length once: its cost does not grow with the number of prefixes;
- a prefix has one announcement per site and kind (by hand, or learnt); the last one stands.

Longest match over one table per length is the plain form of Waldvogel et al., "Scalable High Speed IP Routing Lookups"
(SIGCOMM 1997); with the few dozen lengths that are announced, a search among lengths would save nothing.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
SHARDS = 1024
"""A full table of half a million has some 300 prefixes in each shard of its longest length: three microseconds to copy."""
_MASK = SHARDS - 1
_BITS = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Announcement:
    """One site announces a prefix, with the BGP attributes where a feed gave them."""

    site_id: str
    as_path_length: int = 1
    med: int = 0
    by_hand: bool = True
    """It stands in the site's record; otherwise an appliance or an import says it."""


Announced = tuple[str, Announcement]
"""A prefix in CIDR form, and who announces it."""


class Match(NamedTuple):
    """An announced prefix that covers an address, and who announces it, by site. `key` are the first `length` bits."""

    version: int
    length: int
    key: int
    announcements: tuple[Announcement, ...]

    @property
    def cidr(self) -> str:
        return _words(self.version, self.length, self.key)


class PrefixEditor(Protocol):
    """Makes the next table. What it is told of touches no table that was made."""

    def put(self, cidr: str, announcement: Announcement) -> None:
        """Raises ValueError, and changes nothing, when `cidr` is no network in CIDR form without host bits."""

    def drop(self, cidr: str, site_id: str, *, by_hand: bool) -> None:
        """What is not there is no error. Raises ValueError as `put`."""

    def drop_learnt(self, site_id: str) -> None:
        """All that the site announces and is not by hand. Looks at every prefix when there is any."""

    def freeze(self) -> PrefixTable:
        """The table as edited. The editor may be used on."""


class PrefixTable(Protocol):
    """A prefix table that never changes."""

    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        """All announced prefixes that cover the address, the longest first; empty when there is none."""

    def edit(self) -> PrefixEditor:
        """An editor that begins with this table."""

    def announced(self) -> Iterator[Announced]:
        """Everything in the table, in no order that means anything."""

    def __len__(self) -> int:
        """How many prefixes, each counted once."""


TableMaker = Callable[[Iterable[Announced]], PrefixTable]


def parse_address(text: str) -> IpAddress:
    """An address as the network sees it: IPv4 inside IPv6 is IPv4, a zone is dropped. Raises ValueError."""
    if ":" not in text:
        return ipaddress.IPv4Address(text.partition("%")[0])
    address = ipaddress.IPv6Address(text.partition("%")[0])
    return address.ipv4_mapped or address


def parse_prefix(text: str) -> tuple[int, int, int]:
    """(IP version, length, the first `length` bits) of a network in CIDR form without host bits. Raises ValueError naming it."""
    host, slash, given = text.partition("/")
    if slash and not (given.isascii() and given.isdigit()):
        network = ipaddress.ip_network(text)
        return (
            network.version,
            network.prefixlen,
            int(network.network_address) >> (network.max_prefixlen - network.prefixlen),
        )
    address: IpAddress = ipaddress.IPv6Address(host) if ":" in host else ipaddress.IPv4Address(host)
    whole = _BITS[address.version]
    length = int(given) if slash else whole
    bits = int(address)
    shift = whole - length
    if shift < 0 or "%" in host:
        raise ValueError(f"{text!r} is no prefix")
    if (bits >> shift) << shift != bits:
        raise ValueError(f"{text!r} has host bits set")
    return address.version, length, bits >> shift


def is_prefix(text: str) -> bool:
    """True for a network in CIDR form without host bits."""
    try:
        parse_prefix(text)
    except ValueError:
        return False
    return True


Shard = dict[int, tuple[Announcement, ...]]
_NO_SHARD: Shard = {}


@dataclass(frozen=True, slots=True)
class _Level:
    """All prefixes of one length. `shards` are shared between tables and never written once a table has them."""

    version: int
    length: int
    shards: tuple[Shard, ...]
    count: int

    @property
    def shift(self) -> int:
        return _BITS[self.version] - self.length


class HashedPrefixes:
    """A `PrefixTable`."""

    def __init__(self, announced: Iterable[Announced] = ()) -> None:
        """Raises ValueError naming what is no prefix."""
        editor = _Editor({}, Counter())
        for cidr, announcement in announced:
            editor.put(cidr, announcement)
        self._take(*editor.parts())

    @classmethod
    def _of(cls, levels: Mapping[tuple[int, int], _Level], learnt: Mapping[str, int]) -> HashedPrefixes:
        made = cls.__new__(cls)
        made._take(levels, learnt)
        return made

    def _take(self, levels: Mapping[tuple[int, int], _Level], learnt: Mapping[str, int]) -> None:
        self._levels = levels
        self._learnt = learnt
        self._count = sum(level.count for level in levels.values())
        # Tuples, not objects: an attribute look-up per length was half of the cost of a look-up.
        self._order = {
            version: tuple(
                (level.shift, level.length, level.shards)
                for (its, _), level in sorted(levels.items(), reverse=True)
                if its == version
            )
            for version in _BITS
        }

    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        version, bits = address.version, int(address)
        found: list[Match] = []
        for shift, length, shards in self._order[version]:
            key = bits >> shift
            announcements = shards[key & _MASK].get(key)
            if announcements is not None:
                found.append(Match(version, length, key, announcements))
        return tuple(found)

    def edit(self) -> PrefixEditor:
        return _Editor(self._levels, self._learnt)

    def announced(self) -> Iterator[Announced]:
        for level in self._levels.values():
            for shard in level.shards:
                for key, announcements in shard.items():
                    cidr = _words(level.version, level.length, key)
                    for announcement in announcements:
                        yield cidr, announcement

    def __len__(self) -> int:
        return self._count


class _Draft:
    """A level being edited: `shards` is ours, of the shards those in `owned` are."""

    __slots__ = ("count", "owned", "shards")

    def __init__(self, level: _Level | None) -> None:
        self.shards = list(level.shards) if level is not None else [_NO_SHARD] * SHARDS
        self.owned: set[int] = set()
        self.count = level.count if level is not None else 0

    def writable(self, key: int) -> Shard:
        place = key & _MASK
        if place not in self.owned:
            self.shards[place] = dict(self.shards[place])
            self.owned.add(place)
        return self.shards[place]

    def get(self, key: int) -> tuple[Announcement, ...]:
        return self.shards[key & _MASK].get(key, ())

    def set(self, key: int, announcements: tuple[Announcement, ...]) -> None:
        shard = self.writable(key)
        if announcements:
            self.count += key not in shard
            shard[key] = announcements
        elif shard.pop(key, None) is not None:
            self.count -= 1


class _Editor:
    """A `PrefixEditor` over levels."""

    def __init__(self, levels: Mapping[tuple[int, int], _Level], learnt: Mapping[str, int]) -> None:
        self._base = levels
        self._learnt = Counter(learnt)
        self._drafts: dict[tuple[int, int], _Draft] = {}

    def put(self, cidr: str, announcement: Announcement) -> None:
        version, length, key = parse_prefix(cidr)
        draft = self._draft(version, length)
        before = draft.get(key)
        after = _with(before, announcement)
        draft.set(key, after)
        if not announcement.by_hand and len(after) > len(before):
            self._learnt[announcement.site_id] += 1

    def drop(self, cidr: str, site_id: str, *, by_hand: bool) -> None:
        version, length, key = parse_prefix(cidr)
        if (version, length) in self._base or (version, length) in self._drafts:
            self._drop(self._draft(version, length), key, site_id, by_hand)

    def drop_learnt(self, site_id: str) -> None:
        if not self._learnt[site_id]:
            return
        for version, length in {*self._base, *self._drafts}:
            draft = self._draft(version, length)
            keys = [
                key
                for shard in draft.shards
                for key, its in shard.items()
                if any(one.site_id == site_id and not one.by_hand for one in its)
            ]
            for key in keys:
                self._drop(draft, key, site_id, by_hand=False)

    def freeze(self) -> PrefixTable:
        return HashedPrefixes._of(*self.parts())

    def parts(self) -> tuple[Mapping[tuple[int, int], _Level], Mapping[str, int]]:
        """What a table is made of. What is edited after it is copied again."""
        levels = dict(self._base)
        for (version, length), draft in self._drafts.items():
            if draft.count:
                levels[version, length] = _Level(version, length, tuple(draft.shards), draft.count)
            else:
                levels.pop((version, length), None)
        self._base, self._drafts = levels, {}
        return levels, {site_id: count for site_id, count in self._learnt.items() if count}

    def _draft(self, version: int, length: int) -> _Draft:
        draft = self._drafts.get((version, length))
        if draft is None:
            draft = self._drafts[version, length] = _Draft(self._base.get((version, length)))
        return draft

    def _drop(self, draft: _Draft, key: int, site_id: str, by_hand: bool) -> None:
        before = draft.get(key)
        after = _without(before, site_id, by_hand)
        if len(after) < len(before):
            draft.set(key, after)
            if not by_hand:
                self._learnt[site_id] -= 1


@lru_cache(maxsize=65536)
def _with(known: tuple[Announcement, ...], new: Announcement) -> tuple[Announcement, ...]:
    """Remembered, so that equal announcements of many prefixes are one tuple: half the memory of a full table."""
    return tuple(sorted((*_without(known, new.site_id, new.by_hand), new), key=lambda a: (a.site_id, a.by_hand)))


def _without(known: tuple[Announcement, ...], site_id: str, by_hand: bool) -> tuple[Announcement, ...]:
    return tuple(one for one in known if one.site_id != site_id or one.by_hand != by_hand)


def _words(version: int, length: int, key: int) -> str:
    return f"{network_words(version, length, key << (_BITS[version] - length))}/{length}"


def network_words(version: int, length: int, bits: int) -> str:
    """The address `bits` in words (RFC 5952), of which nothing is set after the first `length`."""
    if version == 4:
        return f"{bits >> 24}.{bits >> 16 & 255}.{bits >> 8 & 255}.{bits & 255}"
    if length > 64:
        return str(ipaddress.IPv6Address(bits))
    # The last four words are zero: no other run is longer, so that they and the zeros before them are what `::` stands for.
    top = bits >> 64
    words = [top >> 48, top >> 32 & 65535, top >> 16 & 65535, top & 65535]
    while words and not words[-1]:
        words.pop()
    return ":".join([f"{word:x}" for word in words]) + "::"
