"""Who is let in: limits that count sessions first and client networks second, and shedding when the worker is over capacity. Pure.

Laws
- A running session goes on. Only the first request of a session that no worker has seen for `SEEN_MINUTES` can be shed.
- Refused because of us (over capacity, too many sessions): 503, which sends a player elsewhere. Refused because of what the client
  does (too many connections of one session or one network): 429, which elsewhere would be the same. Both say when to come again.
  Content steering, where 429 means something else, is never polled here.
- A worker sheds after a load was at its ceiling for `OVER_S` without a break, and stops after all loads were below `CALM` of theirs for
  `CALM_S`. The ceiling of sessions is exact and holds at once.
- A judgement costs nothing per request: a connection is judged when it asks for another session than before,
  and that costs a microsecond where the session is known.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Protocol

from oca.config import Capacity
from oca.http.reasons import Outcome, Pressure

OVER_S = 2.0
CALM_S = 5.0
CALM = 0.8
MAX_KNOWN = 100_000
_V4_BITS, _V6_BITS = 24, 48


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a worker is, and with it the box: sessions and egress are the box's, the rest the worker's."""

    lag_s: float = 0.0
    connections: int = 0
    egress_used: float = 0.0
    disk_queue: int = 0
    """Of the disk with the longest."""
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Where a load is too much."""

    lag_s: float
    connections: int
    egress_used: float
    disk_queue: int
    sessions: int
    session_connections: int
    network_connections: int

    @classmethod
    def of(cls, settings: Capacity, max_connections: int) -> Ceilings:
        return cls(
            settings.lag_s,
            max(1, int(max_connections * settings.connection_share)),
            settings.egress_share,
            settings.disk_queue,
            settings.sessions,
            settings.session_connections,
            settings.network_connections,
        )


@dataclass(frozen=True, slots=True)
class Shedding:
    """Whether new sessions are shed, why, and since when the opposite is the case."""

    why: Pressure | None = None
    turning_since: float | None = None


def judge(now_is: Shedding, load: Load, ceilings: Ceilings, now: float) -> Shedding:
    """The next state; `now` in seconds of any clock that does not jump."""
    why, worst = _worst(load, ceilings)
    turning = worst < CALM if now_is.why is not None else worst >= 1.0
    if not turning:
        return now_is if now_is.turning_since is None else replace(now_is, turning_since=None)
    since = now if now_is.turning_since is None else now_is.turning_since
    if now - since < (OVER_S if now_is.why is None else CALM_S):
        return replace(now_is, turning_since=since)
    return Shedding(why) if now_is.why is None else Shedding()


def _worst(load: Load, ceilings: Ceilings) -> tuple[Pressure, float]:
    shares = (
        (Pressure.SESSIONS, load.sessions / ceilings.sessions),
        (Pressure.EGRESS, load.egress_used / ceilings.egress_used),
        (Pressure.CONNECTIONS, load.connections / ceilings.connections),
        (Pressure.DISK, load.disk_queue / ceilings.disk_queue),
        (Pressure.LAG, load.lag_s / ceilings.lag_s),
    )
    return max(shares, key=lambda share: share[1])


class Seen(Protocol):
    """What all workers of the box remember of sessions."""

    def has(self, session: str) -> bool: ...

    def mark(self, session: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody is not let in. `pressure` only where it is a new session that is shed."""

    outcome: Outcome
    detail: str
    pressure: Pressure | None = None


def decide(
    connections: int, is_running: bool, sessions: int, shedding: Pressure | None, ceilings: Ceilings
) -> Refusal | None:
    """May a connection ask for a session that has so many others here? `sessions` are those of the box."""
    if connections >= ceilings.session_connections:
        return Refusal(Outcome.SESSION_CONNECTIONS, f"the session has {connections} connections to this worker already")
    if is_running:
        return None
    if sessions >= ceilings.sessions:
        return Refusal(Outcome.SHED, "this appliance serves as many sessions as it may", Pressure.SESSIONS)
    if shedding is not None:
        return Refusal(Outcome.SHED, f"this appliance takes no new sessions now: {shedding.value}", shedding)
    return None


@dataclass(slots=True)
class Doors:
    """Which sessions and client networks have how many connections to this worker.

    `elsewhere` is the number of sessions that other workers serve; `shedding` the state as last judged. Both are set by the clockwork.
    """

    ceilings: Ceilings
    seen: Seen
    shared: SharedNetworks
    shedding: Shedding = Shedding()
    elsewhere: int = 0
    _sessions: dict[str, int] = field(default_factory=dict)
    _networks: dict[str, int] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    """Let in since the last `remember`: marked, and running."""

    @property
    def sessions(self) -> int:
        """Sessions with a connection to this worker."""
        return len(self._sessions)

    def enter(self, session: str, before: str | None) -> Refusal | None:
        """A connection that asked for session `before` asks for another. When it is let in, it counts there and no longer here."""
        ours = self._sessions
        connections = ours.get(session, 0)
        if session not in self._known or connections >= self.ceilings.session_connections:
            running = connections > 0 or self.seen.has(session)
            refusal = decide(connections, running, self.elsewhere + len(ours), self.shedding.why, self.ceilings)
            if refusal is not None:
                return refusal
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known.add(session)
            self.seen.mark(session)
        if before is not None:
            self.leave(before)
        ours[session] = connections + 1
        return None

    def leave(self, session: str) -> None:
        """One connection less."""
        ours = self._sessions
        left = ours[session] - 1
        if left:
            ours[session] = left
        else:
            del ours[session]

    def remember(self) -> None:
        """Once a minute: who is here was seen now."""
        for session in self._sessions:
            self.seen.mark(session)
        self._known.clear()

    def knock(self, network: str | None) -> Refusal | None:
        """A connection from a client network, before its first request. When let in it counts; None never counts."""
        if network is None:
            return None
        connections = self._networks.get(network, 0)
        if connections >= self.ceilings.network_connections:
            return Refusal(
                Outcome.NETWORK_CONNECTIONS, f"{network} has {connections} connections to this worker already"
            )
        self._networks[network] = connections + 1
        return None

    def go(self, network: str | None) -> None:
        """A connection that was let in has ended."""
        if network is None:
            return
        left = self._networks[network] - 1
        if left:
            self._networks[network] = left
        else:
            del self._networks[network]


class SharedNetworks:
    """Networks in which many clients have one address, or one prefix: nobody is counted there."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        """Raises ValueError for what is no prefix."""
        self._prefixes = tuple(ipaddress.ip_network(prefix) for prefix in prefixes)

    def counted(self, address: str) -> str | None:
        """The /24 or /48 that an address counts for; None when it counts for none."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if any(ip.version == prefix.version and ip in prefix for prefix in self._prefixes):
            return None
        bits = _V4_BITS if ip.version == 4 else _V6_BITS
        return str(ipaddress.ip_network((ip, bits), strict=False))
