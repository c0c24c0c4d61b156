"""Purges on the writing side: orders become rules on every disk, rules are swept, and a disk that was away hears what it missed.

Laws
1. Every epoch has exactly one rule, whose number it is. What an order asks for is one index transaction per disk: rules, epoch and the control plane's
   number together. Then the epoch is raised on the board, and workers that see it load the rules.
2. A disk that cannot take a rule is taken out: it would serve what was purged.
3. What was asked for before a purge that names it is not stored any more (`refuses`), however late it comes.
4. A swept rule is kept (`KEPT_RULES` of them, in `meta`), so that a disk that was away meanwhile can be brought level: before it
   is served from, what the missed rules forbid leaves it. Where one of them is forgotten, all that is older leaves it.
   Rows of pulled objects go with their bytes, or are marked as stale.
5. Epochs never run backwards: the highest that any disk, or the board, knows is the one.

Calls write to disks one after the other and are no business of the event loop; `oca.store.writer` is the only user.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from oca.store.disk_writer import DiskWriter, Gone
from oca.store.errors import DiskFailed, NoSpace
from oca.store.holdings import HeldExtent
from oca.store.index import META_EPOCH, Changes, Table
from oca.store.pulled import PulledObject, Verdict, behind, bytes_key, pack_pulled, unpack_pulled
from oca.store.purge import PurgeMode, PurgeOrder, PurgeRule, PurgeRules, pack_rule, unpack_rule

KEPT_RULES = 1024
META_TRIGGER = b"purge-trigger"
_SWEPT = b"purge-swept:"
AT_ONCE = 256
"""Extents that leave in one commit."""


class EpochBoard(Protocol):
    """What of `oca.store.board` is used here."""

    purge_epoch: int

    def epoch_seen_by_all(self) -> int: ...


class Purges:
    """All rules of one store."""

    def __init__(self, board: EpochBoard, now: Callable[[], float]) -> None:
        self._board = board
        self._now = now
        self._lock = threading.Lock()
        """One order at a time, and none while a rule is retired; sweeping itself goes on beside."""
        self._live: dict[int, PurgeRule] = {}
        self._swept: dict[int, PurgeRule] = {}
        self.epoch = board.purge_epoch
        self.trigger = 0
        """The control plane's number of the last order that was applied; 0 before any."""
        self.rules = PurgeRules()
        """The live ones, as one judge."""
        self.history = PurgeRules()
        """All rules that are known, swept ones too."""

    @property
    def live(self) -> tuple[PurgeRule, ...]:
        """Rules that were not swept yet, by number."""
        return tuple(rule for _, rule in sorted(self._live.items()))

    def load(self, disks: Sequence[DiskWriter]) -> None:
        """Learn what these disks know, and let everybody know it. A rule that one of them has not swept is live. Raises ValueError (a rule of a newer version), lmdb.Error."""
        self.epoch = max(self.epoch, self._board.purge_epoch)
        for disk in disks:
            for number, value in disk.index.items(Table.PURGE):
                self._learn(self._live, unpack_rule(int.from_bytes(number, "big"), value))
            for key, value in disk.index.page(Table.META, _SWEPT, 2 * KEPT_RULES):
                if key.startswith(_SWEPT):
                    self._learn(self._swept, unpack_rule(int.from_bytes(key[len(_SWEPT) :], "big"), value))
            self.epoch = max(self.epoch, disk.index.number(META_EPOCH))
        newest = max(disks, key=lambda disk: disk.index.number(META_EPOCH), default=None)
        self.trigger = newest.index.number(META_TRIGGER) if newest is not None else 0
        self.spread(disks)

    def _learn(self, known: dict[int, PurgeRule], rule: PurgeRule) -> None:
        known[rule.number] = rule
        self.epoch = max(self.epoch, rule.epoch)

    def spread(self, disks: Iterable[DiskWriter]) -> None:
        """Hand the rules to the disks, then raise the epoch on the board."""
        self.rules = rules = PurgeRules(self._live.values())
        self.history = PurgeRules((*self._swept.values(), *self._live.values()))
        for disk in disks:
            disk.rules, disk.refuses, disk.epoch = rules, self.refuses, self.epoch
        self._board.purge_epoch = self.epoch

    def since(self, key: str, epoch: int) -> PurgeMode | None:
        """What happened to `key` since that epoch, by all that is known; of forgotten rules the worst is assumed."""
        if epoch >= self.epoch:
            return None
        known = sum(rule.epoch > epoch for rule in self.history.rules)
        return PurgeMode.HARD if known < self.epoch - epoch else self.history.judge(key, epoch)

    def refuses(self, key: str, epoch: int) -> bool:
        """Law 3: whether bytes of `key` that were asked for in that epoch come too late."""
        return self.since(key, epoch) is not None

    def late(self, found: PulledObject) -> PulledObject:
        """Law 3 for a row that is about to be written."""
        if all(variant.epoch >= self.epoch for variant in found.variants):
            return found
        return behind(found, lambda key, variant: self.history.judge(key, variant.epoch, variant.tags), self.epoch)

    def bury(self, disks: Sequence[DiskWriter], found: PulledObject | None) -> None:
        """A row is about to be replaced: bytes that only its tags tell to be purged would be taken for those of the new one."""
        if found is not None and self._live:
            kept = behind(found, lambda key, variant: self.rules.judge(key, variant.epoch, variant.tags), self.epoch)
            _drop_bytes(disks, found, kept)

    def order(self, disks: Sequence[DiskWriter], orders: Sequence[PurgeOrder]) -> tuple[PurgeRule, ...]:
        """Laws 1 and 2. Raises DiskFailed when no disk is left that has the rules."""
        with self._lock:
            return self._order(disks, orders)

    def _order(self, disks: Sequence[DiskWriter], orders: Sequence[PurgeOrder]) -> tuple[PurgeRule, ...]:
        rules = tuple(
            PurgeRule(number, order.kind, order.mode, number, self._now(), order.text)
            for number, order in enumerate(orders, self.epoch + 1)
        )
        epoch = self.epoch + len(rules)
        trigger = next((order.trigger for order in reversed(orders) if order.trigger), self.trigger)
        changes = _rows(rules, ())
        changes.number(META_EPOCH, epoch)
        changes.number(META_TRIGGER, trigger)
        taken = [disk for disk in disks if _take(disk, changes)]
        if disks and not taken:
            raise DiskFailed(disks[0].path, "no disk takes purge rules")
        self.epoch, self.trigger = epoch, trigger
        self._live.update((rule.number, rule) for rule in rules)
        self.spread(disks)
        return rules

    def is_obeyed(self, rule: PurgeRule) -> bool:
        """True when every live worker judges by this rule."""
        return self._board.epoch_seen_by_all() >= rule.epoch

    def sweep(self, disks: Sequence[DiskWriter], rule: PurgeRule) -> int:
        """Remove what the rule still forbids and retire it; how many extents. Call when it is obeyed. Raises NoSpace: it stays live."""
        swept = 0
        done = []
        for disk in disks:
            with contextlib.suppress(DiskFailed):  # it hears of the rule when it comes back: law 4
                swept += _sweep_rows(
                    disk,
                    disks,
                    lambda key, variant: rule.mode if rule.matches(key, variant.epoch, variant.tags) else None,
                    rule.epoch,
                )
                swept += _remove(disk, lambda extent: rule.matches(extent.object.key, extent.stored_epoch))
                done.append(disk)
        with self._lock:
            self._retire(disks, done, rule)
        return swept

    def _retire(self, disks: Sequence[DiskWriter], swept: Sequence[DiskWriter], rule: PurgeRule) -> None:
        oldest = self.epoch - KEPT_RULES
        changes = _rows((), (rule,))
        changes.delete(Table.PURGE, _number(rule.number))
        forgotten = [number for number in self._swept if number <= oldest]
        for number in forgotten:
            changes.delete(Table.META, _SWEPT + _number(number))
        for disk in swept:
            _take(disk, changes)
        self._live.pop(rule.number, None)
        self._swept[rule.number] = rule
        for number in forgotten:
            del self._swept[number]
        self.spread(disks)

    def is_behind(self, disk: DiskWriter) -> bool:
        """The disk was away when somebody purged."""
        return disk.index.number(META_EPOCH) < self.epoch

    def level(self, disk: DiskWriter) -> int:
        """Law 4, when its index is read in and before it is served from; how many extents left. Raises NoSpace, DiskFailed."""
        known = disk.index.number(META_EPOCH)
        if known >= self.epoch:
            return 0
        missed = [rule for rule in self.history.rules if rule.epoch > known]
        rules = PurgeRules(missed)
        complete = len(missed) == self.epoch - known
        left = _remove(
            disk,
            lambda extent: (
                rules.judge(extent.object.key, extent.stored_epoch) is not None
                if complete
                else extent.stored_epoch < self.epoch
            ),
        )
        left += _sweep_rows(
            disk,
            (disk,),
            lambda key, variant: (
                rules.judge(key, variant.epoch, variant.tags)
                if complete
                else PurgeMode.HARD
                if variant.epoch < self.epoch
                else None
            ),
            self.epoch,
        )
        changes = _rows(
            [rule for rule in missed if rule.number in self._live],
            [rule for rule in missed if rule.number in self._swept],
        )
        changes.number(META_EPOCH, self.epoch)
        changes.number(META_TRIGGER, self.trigger)
        disk.commit_changes(changes)
        return left


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _rows(live: Iterable[PurgeRule], swept: Iterable[PurgeRule]) -> Changes:
    changes = Changes()
    for rule in live:
        changes.put(Table.PURGE, _number(rule.number), pack_rule(rule))
    for rule in swept:
        changes.put(Table.META, _SWEPT + _number(rule.number), pack_rule(rule))
    return changes


def _take(disk: DiskWriter, changes: Changes) -> bool:
    try:
        disk.commit_changes(changes)
    except NoSpace as error:
        disk.take_out(f"it takes no purge rule: {error}")
        return False
    except DiskFailed:
        return False
    return True


def _remove(disk: DiskWriter, forbidden: Callable[[HeldExtent], bool]) -> int:
    extents = [extent for extent in list(disk.holdings.extents.values()) if forbidden(extent)]
    return sum(disk.remove(extents[start : start + AT_ONCE], Gone.PURGED) for start in range(0, len(extents), AT_ONCE))


def _sweep_rows(disk: DiskWriter, disks: Sequence[DiskWriter], verdict: Verdict, epoch: int) -> int:
    """Put the rows of pulled objects on one disk as a purge leaves them; how many extents went with them, on any of `disks`."""
    swept = 0
    for page in disk.index.scan(Table.PULLED):
        changes = Changes()
        for hashed, value in page:
            found = unpack_pulled(value)
            kept = behind(found, verdict, epoch) if found is not None else None
            if found is None or kept is None or kept == found:
                continue
            swept += _drop_bytes(disks, found, kept)
            if kept.variants:
                changes.put(Table.PULLED, hashed, pack_pulled(kept))
            else:
                changes.delete(Table.PULLED, hashed)
        if changes.items:
            disk.commit_changes(changes)
    return swept


def _drop_bytes(disks: Sequence[DiskWriter], before: PulledObject, after: PulledObject) -> int:
    """Remove what lies under the versions that left; how many extents."""
    left = {variant.version for variant in before.variants} - {variant.version for variant in after.variants}
    return sum(disk.drop(bytes_key(before.key, version), Gone.PURGED) for disk in disks for version in left)
