"""The world a ranking is made from: immutable, and rebuilt by each change (contracts.world).

Laws: a change touches one entity, so changes of different entities commute; health and holdings of an appliance may come
before the appliance; what is gone takes its health and holdings with it; a snapshot is built aside (`Draft()`) and becomes
the world only when it is complete. Of the prefix tables a change makes anew only what it touches (`announcing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from contracts.keysets import NO_KEYS, KeySet, unpacked_hashes
from contracts.places import Appliance, Site
from contracts.world import Change, FallbackOrigin, Health, HoldingsDigest, digest_of
from steering.announcing import AnnouncingDraft
from steering.prefixes import HashedPrefixes, IpAddress, Match, PrefixTable, TableMaker

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Held:
    """What one appliance holds whole, and what its plan wants it to hold."""

    whole: KeySet = NO_KEYS
    planned: KeySet = NO_KEYS


@dataclass(frozen=True, slots=True)
class World:
    """Everything `rank` looks at. `doubted` are suspects whose suspicion is not believed (steering.vigilance)."""

    number: int = 0
    sites: Mapping[str, Site] = field(default_factory=dict)
    appliances: Mapping[str, Appliance] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    holdings: Mapping[str, Held] = field(default_factory=dict)
    origins: Mapping[str, FallbackOrigin] = field(default_factory=dict)
    by_site: Mapping[str, tuple[Appliance, ...]] = field(default_factory=dict)
    """Appliances of each site by id."""
    prefixes: PrefixTable = field(default_factory=lambda: HashedPrefixes(()), compare=False)
    quarantined: tuple[str, ...] = ()
    """What sites announce and is no prefix: `SITE TEXT`, left out and shown."""
    doubted: frozenset[str] = frozenset()
    guesses: PrefixTable = field(default_factory=lambda: HashedPrefixes(()), compare=False)
    """What geo databases say: asked only for clients that nobody announces."""

    @property
    def is_empty(self) -> bool:
        """True before anything is known: nothing could be answered."""
        return not self.origins and not self.appliances

    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        """The prefixes that cover the address, the longest first; guesses only after all that somebody announces."""
        found = self.prefixes.covering(address)
        return found + self.guesses.covering(address) if len(self.guesses) else found

    def doubting(self, appliance_ids: frozenset[str]) -> World:
        return self if appliance_ids == self.doubted else replace(self, doubted=appliance_ids)


def apply(world: World, change: Change, make_table: TableMaker) -> World:
    """The world after the change. A tick and `snapshot_complete` change nothing but the number."""
    draft = Draft(make_table, world)
    draft.add(change)
    return draft.freeze()


class Draft:
    """A world being built: empty, or on top of another that stays as it is."""

    def __init__(self, make_table: TableMaker, base: World | None = None) -> None:
        base = World(prefixes=make_table(()), guesses=make_table(())) if base is None else base
        self._base = base
        self._number = base.number
        self._sites = _Table(base.sites)
        self._appliances = _Table(base.appliances)
        self._health = _Table(base.health)
        self._holdings = _Table(base.holdings)
        self._origins = _Table(base.origins)
        self._announcing = AnnouncingDraft(base.prefixes, base.guesses, base.quarantined)

    def add(self, change: Change) -> None:
        self._number = max(self._number, change.number)
        if change.site is not None:
            self._announcing.put_site(self._sites.find(change.site.id), change.site)
            self._sites.put(change.site.id, change.site)
        elif change.site_gone is not None:
            gone = self._sites.find(change.site_gone)
            if gone is not None:
                self._announcing.drop_site(gone)
            self._sites.drop(change.site_gone)
        elif change.appliance is not None:
            self._appliances.put(change.appliance.id, change.appliance)
        elif change.appliance_gone is not None:
            for table in (self._appliances, self._health, self._holdings):
                table.drop(change.appliance_gone)
        elif change.health is not None:
            self._health.put(change.health.appliance_id, change.health)
        elif change.digest is not None or change.holdings is not None:
            told = change.digest if change.holdings is None else digest_of(change.holdings)
            assert told is not None
            self._holdings.put(told.appliance_id, _held_after(self._holdings.get(told.appliance_id, Held()), told))
        elif change.routes is not None:
            self._announcing.change_routes(change.routes)
        elif change.origin is not None:
            self._origins.put(change.origin.name, change.origin)

    def freeze(self) -> World:
        """The world as drafted. The draft may be used on."""
        base = self._base
        prefixes, guesses, quarantined = self._announcing.freeze()
        return World(
            number=self._number,
            sites=self._sites.freeze(),
            appliances=self._appliances.freeze(),
            health=self._health.freeze(),
            holdings=self._holdings.freeze(),
            origins=self._origins.freeze(),
            by_site=_by_site(self._appliances.freeze()) if self._appliances.changed else base.by_site,
            prefixes=prefixes,
            quarantined=quarantined,
            doubted=base.doubted,
            guesses=guesses,
        )


class _Table(Generic[V]):
    """A mapping that is copied at its first change, and again after it was handed out."""

    def __init__(self, base: Mapping[str, V]) -> None:
        self._values: Mapping[str, V] = base
        self._own: dict[str, V] | None = None
        self.changed = False

    def find(self, name: str) -> V | None:
        return self._values.get(name)

    def get(self, name: str, default: V) -> V:
        return self._values.get(name, default)

    def put(self, name: str, value: V) -> None:
        self._mine()[name] = value

    def drop(self, name: str) -> None:
        if name in self._values:
            del self._mine()[name]

    def freeze(self) -> Mapping[str, V]:
        self._own = None
        return self._values

    def _mine(self) -> dict[str, V]:
        if self._own is None:
            self._own = dict(self._values)
            self._values = self._own
        self.changed = True
        return self._own


def changes_of(world: World) -> Iterator[Change]:
    """The world as a snapshot: applied to nothing, these changes give it again, but for its routes (`announcing.routes_of`)
    and what is doubted."""
    for site in world.sites.values():
        yield Change(world.number, site=site)
    for appliance in world.appliances.values():
        yield Change(world.number, appliance=appliance)
    for health in world.health.values():
        yield Change(world.number, health=health)
    for appliance_id, held in world.holdings.items():
        digest = HoldingsDigest(appliance_id, True, held=held.whole.packed(), planned=held.planned.packed())
        yield Change(world.number, digest=digest)
    for origin in world.origins.values():
        yield Change(world.number, origin=origin)
    yield Change(world.number, snapshot_complete=True)


def _held_after(known: Held, told: HoldingsDigest) -> Held:
    if told.full:
        return Held(KeySet.unpacked(told.held), KeySet.unpacked(told.planned))
    whole = known.whole.changed(unpacked_hashes(told.held), unpacked_hashes(told.dropped))
    return Held(whole, known.planned)


def _by_site(appliances: Mapping[str, Appliance]) -> dict[str, tuple[Appliance, ...]]:
    found: dict[str, list[Appliance]] = {}
    for _, appliance in sorted(appliances.items()):
        found.setdefault(appliance.site_id, []).append(appliance)
    return {site_id: tuple(its) for site_id, its in found.items()}
