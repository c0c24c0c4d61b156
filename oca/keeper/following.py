"""Following the control plane: keys, desired state, parents and plan, each kept on disk and passed on when it changed.

The heartbeat's nudges and the reports' answers say which numbers are current; what is newer than ours is fetched. Without either,
everything is asked for once a minute. A control plane that is away changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from contracts.keys import KeySet, KeyUse
from contracts.places import ApplianceState
from contracts.plans import AppliancePlan, RankedSource, Upstreams
from contracts.reports import Heartbeat, Nudge, ReportAnswer
from oca.keeper.connection import Connection, ControlPlane
from oca.keeper.errors import NotConnected
from oca.keeper.state import StateFolder
from oca.link.files import Contact, Desired
from oca.link.messages import Reload, ReloadWhat

ASK_EVERY_S = 60.0
PARENTS_EVERY_S = 5.0
PARENTS_WHEN_NONE_S = 2.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 15.0
KEYS_AGAIN_S = 2.0
CONTACT_EVERY_S = 5.0
RECONNECT_S = 0.5
FIRST_WORD_S = 0.3
RECONNECT_AT_MOST_S = 5.0


async def happened(event: asyncio.Event, clock: Clock, at_most_s: float) -> bool:
    """Waits for the event, at most so long; whether it came."""
    came = asyncio.ensure_future(event.wait())
    slept = asyncio.ensure_future(clock.sleep(at_most_s))
    try:
        await asyncio.wait((came, slept), return_when=asyncio.FIRST_COMPLETED)
    finally:
        came.cancel()
        slept.cancel()
    return event.is_set()


class Following:
    """What the control plane said last."""

    def __init__(
        self,
        control_plane: ControlPlane,
        state: StateFolder,
        tell_workers: Callable[[Reload], None],
        take_plan: Callable[[AppliancePlan], Awaitable[None]] | None,
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`take_plan` None ignores plans (cache-only). `changed()`: something that a report carries is different now."""
        self.keys = state.read("keys.json", KeySet) or KeySet(-1, ())
        self.desired = state.read("desired.json", Desired) or Desired(ApplianceState.ENROLLING)
        self.parents: tuple[RankedSource, ...] = ()
        kept = state.read("upstreams.json", Upstreams)
        if kept is not None:
            self.parents = kept.parents
        self.plan_number = 0
        self._control_plane = control_plane
        self._state = state
        self._tell_workers = tell_workers
        self._take_plan = take_plan
        self._changed = changed
        self._clock = clock
        self._wanted_plan = 0
        self._wanted_keys = -1
        self._due = asyncio.Event()
        self._keys_asked_s = -KEYS_AGAIN_S
        self._contact_kept_s = -CONTACT_EVERY_S
        self._log = get_logger("oca.keeper.following")

    @property
    def media_keys(self) -> int:
        return len(self.keys.of(KeyUse.MEDIA))

    def heard(self, news: Nudge | ReportAnswer) -> None:
        """Numbers and state as the control plane has them."""
        self._follow_state(news.state)
        self._wanted_plan = max(self._wanted_plan, news.plan_number)
        self._wanted_keys = max(self._wanted_keys, news.keys_number)
        if self._wanted_keys > self.keys.number or (self._take_plan and self._wanted_plan > self.plan_number):
            self._due.set()

    def nudged(self, nudge: Nudge) -> None:
        self.heard(nudge)
        self._due.set()

    def want_keys(self) -> None:
        """Somebody met a signature by a key that is not among ours."""
        now_s = self._clock.monotonic_s()
        if now_s - self._keys_asked_s >= KEYS_AGAIN_S:
            self._keys_asked_s = now_s
            self._wanted_keys = max(self._wanted_keys, self.keys.number + 1)
            self._due.set()

    async def run(self) -> None:
        """Fetches what is newer, for ever."""
        failures = 0
        full_at_s = 0.0
        while True:
            self._due.clear()
            now_s = self._clock.monotonic_s()
            try:
                await self._fetch(everything=now_s >= full_at_s)
                self._keep_contact(now_s)
                if now_s >= full_at_s:
                    full_at_s = now_s + ASK_EVERY_S
                failures = 0
            except (ServiceError, NotConnected) as error:
                failures += 1
                if failures == 1:
                    self._log.warning("control-plane-away", detail=str(error), then="going on with what is at hand")
                await self._clock.sleep(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 5)))
                continue
            await happened(self._due, self._clock, PARENTS_EVERY_S if self.parents else PARENTS_WHEN_NONE_S)

    async def _fetch(self, *, everything: bool) -> None:
        if everything or self._wanted_keys > self.keys.number:
            self._keep_keys(await self._control_plane.keys())
        self._keep_parents(await self._control_plane.upstreams())
        if self._take_plan is not None and (everything or self._wanted_plan > self.plan_number):
            plan = await self._control_plane.plan()
            if plan is not None:
                self.plan_number = max(self.plan_number, plan.number)
                await self._take_plan(plan)

    def _keep_contact(self, now_s: float) -> None:
        """Workers judge by it which tokens they still take after a long absence. A power cut may lose the last moments."""
        if now_s - self._contact_kept_s >= CONTACT_EVERY_S:
            self._contact_kept_s = now_s
            self._write("contact.json", Contact(self._clock.wall_s()), durable=False)

    def _keep_keys(self, keys: KeySet) -> None:
        if keys == self.keys:
            self._wanted_keys = min(self._wanted_keys, keys.number)
            return
        self.keys = keys
        self._wanted_keys = keys.number
        self._write("keys.json", keys)
        self._tell_workers(Reload(ReloadWhat.KEYS))
        self._log.info("keys-taken", number=keys.number, keys=len(keys.keys))
        self._changed()

    def _keep_parents(self, upstreams: Upstreams) -> None:
        if upstreams.parents != self.parents:
            self.parents = upstreams.parents
            self._write("upstreams.json", upstreams)
            self._log.info("parents-taken", parents=[f"{p.kind.value} {p.name}" for p in upstreams.parents])

    def _follow_state(self, word: str) -> None:
        try:
            state = ApplianceState(word)
        except ValueError:
            self._log.warning("unknown-state", state=word)
            return
        if state is self.desired.state:
            return
        self._log.info("state", before=self.desired.state.value, after=state.value)
        self.desired = Desired(state, self._clock.wall_s())
        self._write("desired.json", self.desired)
        self._tell_workers(Reload(ReloadWhat.STATE))
        self._changed()

    def _write(self, name: str, value: msgspec.Struct, *, durable: bool = True) -> None:
        try:
            self._state.write(name, value, durable=durable)
        except OSError as error:
            self._log.error("state-not-kept", file=name, detail=str(error))


class Pulse:
    """The heartbeat stream: a beat a second up, nudges down, opened again whenever it ends."""

    def __init__(
        self,
        connection: Connection,
        beat_s: float,
        standing: Callable[[], tuple[float, bool, bool]],
        nudged: Callable[[Nudge], None],
        clock: Clock,
        unconnected: Callable[[], None] = lambda: None,
    ) -> None:
        """`standing()` gives (load 0..1, whether some worker serves, whether some worker sheds new sessions); `unconnected()` is told of
        every stream that is about to be opened: what was said on the one before may be old."""
        self._unconnected = unconnected
        self.connected = False
        self._connection = connection
        self._beat_s = beat_s
        self._standing = standing
        self._nudged = nudged
        self._clock = clock
        self._sequence = 0
        self._heard = asyncio.Event()
        self._log = get_logger("oca.keeper.pulse")

    async def run(self) -> None:
        wait_s = RECONNECT_S
        while True:
            before = self._sequence
            try:
                await self._stream()
            except (ServiceError, NotConnected, ClientError, ConnectionError) as error:
                self._log.debug("heartbeat-broken", detail=str(error))
            finally:
                self.connected = False
            wait_s = RECONNECT_S if self._sequence > before else min(RECONNECT_AT_MOST_S, wait_s * 2)
            await self._clock.sleep(wait_s)

    async def _stream(self) -> None:
        self._unconnected()
        async with self._connection.heartbeat() as stream:
            self.connected = True
            self._heard.clear()
            # Whichever ends first ends both: a stream without beats, or beats that nobody takes, would only look alive.
            both = {asyncio.create_task(self._beat(stream.send_str)), asyncio.create_task(self._listen(stream))}
            try:
                ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _listen(self, stream: ClientWebSocketResponse) -> None:
        try:
            async for message in stream:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._nudged(msgspec.json.decode(message.data, type=Nudge))
                    self._heard.set()
        except msgspec.MsgspecError as error:
            self._log.warning("nudge-not-understood", detail=str(error))

    async def _beat(self, send: Callable[[str], Awaitable[None]]) -> None:
        # The first word down says which triggers there are: before it nobody knows whether this box may serve.
        await happened(self._heard, self._clock, FIRST_WORD_S)
        while True:
            self._sequence += 1
            load, serving, shedding = self._standing()
            await send(msgspec.json.encode(Heartbeat(self._sequence, load, serving, shedding)).decode())
            await self._clock.sleep(self._beat_s)
