"""The feed: reads the change stream, keeps the current world, and says when it can no longer be believed.

Laws: a snapshot replaces the world only when it is complete; while the stream is broken the last world stands; a stream
that is silent for `silent_after_s` is broken (the control plane ticks every second); numbers never go back within a stream; a
stream goes on where the one before broke, when the control plane still has what came since. Lines with routes are applied one
at a time with the loop's other work between them, so that half a million prefixes hold up no answer.
"""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.health import NotReady
from chassis.logs import get_logger
from contracts.world import Change
from steering.prefixes import TableMaker
from steering.vigilance import Watch, observe
from steering.world import Draft, World, apply

FIRST_WAIT_S = 0.2
LINES_PER_FREEZE = 20
_LOG = get_logger("steering.feed")


class StreamEnd(Enum):
    """Why the change stream ended."""

    UNREACHABLE = "unreachable"
    """It could not be opened, broke, or said what nobody understands."""
    SILENT = "silent"
    CLOSED = "closed"
    """The control plane ended it (it stops, or we read too slowly)."""
    BACKWARDS = "backwards"
    """A change had a lower number than the one before."""
    DIED = "died"
    """A change did what nobody expected: the feed's task ends with the error and is started again."""


class ChangeSource(Protocol):
    """Where changes come from; `chassis.client.ServiceClient` over mutual TLS, or a list in tests."""

    def __call__(self, after: int) -> AsyncIterator[Change]:
        """One connection: a snapshot, then changes; or, where nothing is missing after change `after` (0: nothing is known),
        `resumed`, then those. Raises ServiceError when it breaks (status 504 when it fell silent)."""


@dataclass(slots=True)
class State:
    """What everybody reads: the world now, and whether it is kept up."""

    world: World
    watch: Watch = field(default_factory=Watch)
    live: bool = False
    """True from a complete snapshot to the end of its stream."""
    broken_since_s: float = 0.0


class Feed:
    """Keeps `state` up to date. `on_change` is called after each change of the world, of trust and of liveness."""

    def __init__(
        self,
        source: ChangeSource,
        state: State,
        make_table: TableMaker,
        clock: Clock,
        *,
        longest_wait_s: float,
        rng: random.Random,
        on_change: Callable[[bool], None],
        on_end: Callable[[StreamEnd], None],
    ) -> None:
        self._source = source
        self._state = state
        self._make_table = make_table
        self._clock = clock
        self._longest_wait_s = longest_wait_s
        self._rng = rng
        self._on_change = on_change
        self._on_end = on_end
        state.broken_since_s = clock.monotonic_s()
        self._lines = 0
        """With routes, so far."""
        self._whole = 0
        """Number of the world that this feed built from a whole snapshot; 0 before."""

    async def run(self) -> None:
        """Reads for ever; between two connections it waits, longer each time, with jitter."""
        failures = 0
        while True:
            try:
                end, had_world = await self._one_stream()
            except Exception:
                self._ended(StreamEnd.DIED)
                raise
            self._ended(end)
            failures = 0 if had_world else failures + 1
            ceiling_s = min(self._longest_wait_s, FIRST_WAIT_S * 2.0**failures)
            await self._clock.sleep(self._rng.uniform(ceiling_s / 2, ceiling_s))

    async def ready(self) -> str | None:
        """The check of `/readyz`: raises NotReady, with what steering does meanwhile, when the world cannot be believed."""
        state = self._state
        if state.world.is_empty:
            raise NotReady("nothing is known yet: the control plane has not sent a world")
        if not state.live:
            broken_s = self._clock.monotonic_s() - state.broken_since_s
            raise NotReady(
                f"monitoring is presumed broken: no change stream for {broken_s:.0f} s; "
                f"answers come from world {state.world.number}"
            )
        if state.watch.monitoring_doubted:
            names = ", ".join(sorted(state.watch.doubted))
            raise NotReady(f"monitoring is presumed broken: too many suspects at once; ranked last: {names}")
        return f"world {state.world.number}"

    async def _one_stream(self) -> tuple[StreamEnd, bool]:
        """(why it ended, whether it brought a whole world)."""
        draft: Draft | None = Draft(self._make_table)
        last = 0
        try:
            async for change in self._source(self._whole):
                if change.number < last:
                    return StreamEnd.BACKWARDS, draft is None
                last = change.number
                if change.resumed and self._whole:
                    self._begin(self._state.world)
                    draft = None
                elif draft is None:
                    self._apply(change)
                else:
                    draft.add(change)
                    if change.snapshot_complete:
                        self._begin(draft.freeze())
                        draft = None
                if change.routes is not None:
                    await self._after_routes()
        except ServiceError as error:
            _LOG.warning("change-stream-broken", detail=str(error))
            silent = draft is None and error.status == 504
            return (StreamEnd.SILENT if silent else StreamEnd.UNREACHABLE), draft is None
        return StreamEnd.CLOSED, draft is None

    async def _after_routes(self) -> None:
        """Other work is done before the next line."""
        self._lines += 1
        if self._lines % LINES_PER_FREEZE == 0:
            # A full collection looks at every prefix: 120 ms without an answer at half a million. Tables have no cycles: what is
            # replaced goes by its count of references, frozen or not. Garbage with cycles would be frozen for ever: it goes before. That
            # looks at what is not frozen yet.
            gc.collect()
            gc.freeze()
        await self._clock.sleep(0)

    def _begin(self, world: World) -> None:
        state = self._state
        state.live = True
        self._whole = world.number
        self._replace(world, look_again=True)
        _LOG.info(
            "world-complete",
            number=world.number,
            sites=len(world.sites),
            appliances=len(world.appliances),
            prefixes=len(world.prefixes),
        )
        self._on_change(True)

    def _apply(self, change: Change) -> None:
        if change.tick:
            return
        before = self._state.world
        self._replace(apply(before, change, self._make_table), look_again=_moves_suspicion(before, change))
        self._whole = self._state.world.number
        self._on_change(True)

    def _replace(self, world: World, *, look_again: bool) -> None:
        state = self._state
        if look_again:
            before = state.watch
            state.watch = observe(before, world, self._clock.monotonic_s())
            if state.watch.doubted and not before.doubted:
                _LOG.error("monitoring-presumed-broken", suspects=sorted(state.watch.doubted))
            elif before.doubted and not state.watch.doubted:
                _LOG.info("monitoring-believed-again")
        state.world = world.doubting(state.watch.doubted)

    def _ended(self, end: StreamEnd) -> None:
        if end in (StreamEnd.DIED, StreamEnd.BACKWARDS):
            self._whole = 0  # whatever led there is not asked for again: the next stream brings a snapshot
        state = self._state
        if state.live:
            state.live = False
            state.broken_since_s = self._clock.monotonic_s()
            _LOG.error("change-stream-ended", reason=end.value, world=state.world.number)
        self._on_end(end)
        self._on_change(False)


def _moves_suspicion(world: World, change: Change) -> bool:
    """True when the change may begin or end a suspicion, or changes who is counted."""
    if change.health is not None:
        known = world.health.get(change.health.appliance_id)
        return known is None or known.suspect != change.health.suspect
    return change.holdings is None and change.digest is None and change.origin is None and change.routes is None
