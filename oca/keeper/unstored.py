"""Published blocks for which there is no room: fetched and verified like others, kept in memory for those who want them now.

Theory: `oca.keeper.fetching` decides who fetches which block once; what it asks of a store are four calls. This is a store that keeps
the last blocks in memory, so that a wave of readers of one file makes one fetch per block here, too.

Laws: bytes that have not the signed digest leave nobody's hands; what a purge has overtaken is not found any more; whoever waits for a block
holds its bytes himself, so that the bound of the memory costs latecomers a fetch and nobody his block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from contracts.digests import block_digest, block_length
from contracts.reports import Purpose
from oca.keeper.fetching import Fetcher
from oca.keeper.runs import Asker, NoThrottle
from oca.keeper.storing import Facts, Held
from oca.store.errors import WrongBlock

RUN_BLOCKS = 2
"""Asked for at once. Two runs of one asker are under way, which makes 1 MiB in flight."""
KEPT_BLOCKS = 128
"""For latecomers: 32 MiB."""
NO_DISK = -1


@dataclass(frozen=True, slots=True)
class InMemory(Held):
    """One block that lies in no extent."""

    data: bytes


class MemoryBlocks:
    """The last `limit` verified blocks. `epoch` is the store's purge epoch of the moment."""

    def __init__(self, epoch: Callable[[], int], limit: int = KEPT_BLOCKS) -> None:
        self._epoch = epoch
        self._limit = limit
        self._kept: OrderedDict[tuple[bytes, bytes, int], tuple[int, InMemory]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def purge_epoch(self) -> int:
        return self._epoch()

    def held(self, facts: Facts, first: int, last: int) -> list[Held]:
        """What is here of blocks first … last, in rising order, one by one."""
        found: list[Held] = []
        for block in range(first, last + 1):
            kept = self._kept.get((facts.hashed, facts.version, block))
            if kept is not None and kept[0] == self._epoch():
                found.append(kept[1])
        return found

    async def expect_room(self, facts: Facts, first: int, last: int, *, must_pin: bool) -> None:
        """There is always room: the oldest make way."""

    async def renew(self, facts: Facts) -> int:
        """Nothing here turns stale: what a purge has overtaken is not found."""
        return 0

    async def write(
        self, facts: Facts, block: int, data: bytes, plan: str | None, *, must_pin: bool, epoch: int
    ) -> Held:
        """Verify one block and keep it a while. Raises WrongBlock."""
        if len(data) != block_length(facts.digests.size_bytes, block) or block_digest(data) != facts.digests.block(
            block
        ):
            raise WrongBlock(f"block {block} of {facts.key} has another length or digest")
        made = InMemory(NO_DISK, 0, 0, block, block, 0, epoch, data)
        self._kept[facts.hashed, facts.version, block] = (epoch, made)
        self._kept.move_to_end((facts.hashed, facts.version, block))
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made


class _FewAtOnce(NoThrottle):
    run_blocks = RUN_BLOCKS


class Unstored:
    """Blocks that pass. `fetcher` is one over `MemoryBlocks`."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._asker = Asker(Purpose.CLIENT, throttle=_FewAtOnce())

    async def facts(self, key: str, version: bytes) -> Facts:
        """Raises FetchFailed."""
        return await self._fetcher.facts(key, version)

    async def blocks(self, facts: Facts, first: int, last: int) -> AsyncIterator[tuple[int, bytes]]:
        """(number, verified bytes) of blocks first … last. Raises FetchFailed at the first that cannot be had."""
        async for fetched in self._fetcher.blocks(facts, first, last, self._asker):
            held = fetched.held
            assert isinstance(held, InMemory), "this fetcher writes to memory"
            yield held.first, held.data

    async def close(self) -> None:
        """Ends every fetch."""
        await self._fetcher.close()
