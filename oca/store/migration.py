"""Taking the rows of an index forward to the newest format, while it is served from.

Laws.
1. The format number of an index is the newest that any of its rows may have, and is raised before the first row is: an older Lowtide refuses the disk
   from then on, with words, and never meets rows that it would take for rubbish.
2. Whoever reads rows understands every format since the first one; older rows are right, they only wait to be rewritten.
3. A step rewrites one table in pages. A page and the place it ended at are one transaction, so that a migration that was interrupted goes on there,
   and a row that was written anew meanwhile (it is in the newest format) stays as it is.

A new format: let the code read old and new rows and write new ones, raise `oca.store.index.FORMAT`, and append a `Step` here. Rows of `meta` are a table like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oca.store.index import META_FORMAT, Changes, IndexWriter, Table

META_FROM = b"migrating-from"
META_PLACE = b"migrated-up-to"

Rewrite = Callable[[bytes, bytes], bytes | None]
"""(key, value) → the value in the step's format; None where it is in that already, or in a later one."""


@dataclass(frozen=True, slots=True)
class Step:
    """From format `to - 1` to `to`: every row of one table, one by one."""

    to: int
    table: Table
    rewrite: Rewrite


STEPS: tuple[Step, ...] = ()


class Migration:
    """One index on its way to the format of the last step. Calls need the disk's lock; each is one short transaction."""

    def __init__(self, index: IndexWriter, steps: Sequence[Step] = STEPS) -> None:
        self._index = index
        self._steps = steps
        self.rewritten = 0
        """Rows, since this keeper began."""
        self._waiting = self._begin()

    def _begin(self) -> list[Step]:
        """Law 1. Raises lmdb.Error."""
        found, began = self._index.number(META_FORMAT), self._index.number(META_FROM)
        newest = max((step.to for step in self._steps), default=found)
        if found < newest:
            changes = Changes()
            changes.number(META_FORMAT, newest)
            changes.number(META_FROM, began or found)
            # A step that was under way keeps its place: steps that came since stand behind it.
            self._index.commit(changes)
            began = began or found
        return sorted((step for step in self._steps if began and step.to > began), key=lambda step: step.to)

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def some(self, max_rows: int) -> int:
        """Rewrite what needs it among the next `max_rows` rows; how many rows were passed. Raises lmdb.Error (nothing changed)."""
        if not self._waiting:
            return 0
        step = self._waiting[0]
        page = self._index.page(step.table, self._place_in(step.table), max_rows)
        changes = Changes()
        for key, value in page:
            new = step.rewrite(key, value)
            if new is not None:
                changes.put(step.table, key, new)
        rewritten = len(changes.items)
        ended = len(page) < max_rows
        if not ended:
            changes.put(Table.META, META_PLACE, step.table.value + b":" + page[-1][0])
        else:
            changes.delete(Table.META, META_PLACE)
            self._note_end(changes, step)
        self._index.commit(changes)
        self.rewritten += rewritten
        if ended:
            del self._waiting[0]
        return len(page)

    def _place_in(self, table: Table) -> bytes | None:
        name, _, key = (self._index.get(Table.META, META_PLACE) or b"").partition(b":")
        return key if name == table.value else None

    def _note_end(self, changes: Changes, step: Step) -> None:
        """Two steps to one format are one: only the last of them counts as done, and going through a table again does no harm."""
        after = self._waiting[1:]
        if not after:
            changes.delete(Table.META, META_FROM)
        elif after[0].to > step.to:
            changes.number(META_FROM, step.to)
