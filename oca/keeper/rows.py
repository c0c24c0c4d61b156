"""Rows of pulled objects on their way to the index: what was decided last counts at once, and is durable a moment later.

Laws: the newest row of a key is what everybody in this process sees; rows that wait are committed together, one commit at a time; a row that
cannot be committed is forgotten, so that the index and this process agree again.
"""

from __future__ import annotations

import asyncio

from chassis.logs import get_logger
from oca.keeper.storing import Storing
from oca.store.errors import StoreError
from oca.store.extents import key_hash
from oca.store.pulled import PulledObject


class Rows:
    def __init__(self, storing: Storing) -> None:
        self._storing = storing
        self._waiting: dict[bytes, PulledObject] = {}
        self._committing: dict[bytes, PulledObject] = {}
        self._task: asyncio.Task[None] | None = None
        self._round: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the commit that is under way, or the next one, is."""
        self._log = get_logger("oca.keeper.rows")

    def get(self, key: str, hashed: bytes) -> PulledObject:
        """The row of a service key; one without variants where there is none."""
        found = self._waiting.get(hashed) or self._committing.get(hashed) or self._storing.pulled(hashed)
        return found if found is not None and found.key == key else PulledObject(key)

    def put(self, row: PulledObject) -> None:
        """Takes the place of the key's row now; durable after the next commit."""
        self._waiting[key_hash(row.key)] = row
        if self._task is None:
            self._task = asyncio.create_task(self._commit())

    async def settled(self) -> None:
        """When all that was put before is in the index."""
        for _ in range(2):  # the commit that is under way, and the one behind it
            if self._waiting or self._committing:
                await asyncio.shield(self._round)

    async def _commit(self) -> None:
        try:
            while self._waiting:
                self._committing, self._waiting = self._waiting, {}
                try:
                    await self._storing.put_pulled(self._committing)
                except StoreError as error:
                    self._log.warning("rows-not-kept", rows=len(self._committing), detail=str(error))
                finally:
                    self._committing = {}
                    self._round.set_result(None)
                    self._round = asyncio.get_running_loop().create_future()
        finally:
            self._task = None
