"""What a worker does about load, in the hands of the modules that decide it: `admission`, `pacing`, `hints`, `egress`.

A connection is judged when it asks for another session than before; what a player says by CMCD is heard with each request. Neither
costs a request in which nothing changes more than a few hundred nanoseconds.
"""

from __future__ import annotations

from typing import Protocol

from contracts.tokens.claims import MediaClaims
from oca.http.reasons import HintFate, Pressure
from oca.http.request import RequestRefused
from oca.link.counters import Count, CounterLine, Counters
from oca.link.worker import LinkClient
from oca.store.extents import key_hash
from oca.worker.admission import Doors, Load, Refusal, judge
from oca.worker.egress import Crowd, Egress
from oca.worker.hints import MAY_HINT, Ahead, Hints, Object
from oca.worker.holdings import Holdings, Version
from oca.worker.pacing import PaceRules, differs, pace

CMCD_HEADERS = (b"cmcd-request", b"cmcd-status", b"cmcd-object")
"""Those that carry what is heard here."""


class Guest(Protocol):
    """A connection, as it is let in and paced."""

    session: str | None
    pace: int

    def set_pace(self, rate: int) -> None:
        """Send at most so many bytes a second from now on; 0 as fast as it goes."""


class HeldObjects:
    """What hints may name: objects of which an extent is in the index, or announced."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def known(self, key: str, near: int) -> Object | None:
        holdings = self._holdings
        record = holdings.find(key, key_hash(key), near)
        if record is not None:
            return Object(record.version, record.file_size)
        for number in (near // holdings.extent_bytes, 0):
            said = holdings.announcements.last_said(key, number)
            if said is not None:
                return Object(*said)
        return None

    def holds(self, key: str, found: Object, first: int, last: int) -> bool:
        return self._holdings.holds(Version(key, key_hash(key), found.version, found.size), first, last)


class Gate:
    """One per worker. `rules` None paces nobody, `hints` None looks at none."""

    def __init__(
        self,
        doors: Doors,
        rules: PaceRules | None,
        hints: Hints | None,
        egress: Egress,
        link: LinkClient,
        box: Counters,
        line: CounterLine,
    ) -> None:
        self.doors = doors
        self.egress = egress
        self._rules = rules
        self._hints = hints
        self._link = link
        self._box = box
        self._line = line

    @property
    def shedding(self) -> Pressure | None:
        return self.doors.shedding.why

    def enter(self, guest: Guest, session: str) -> None:
        """`guest` asks for another session than before. Raises RequestRefused; the connection is to end then."""
        refusal = self.doors.enter(session, guest.session)
        if refusal is not None:
            self._count(refusal)
            raise RequestRefused(refusal.outcome, refusal.detail)
        guest.session = session

    def lets_in(self, guest: Guest, session: str) -> bool:
        """The same; False, without any effect, where `enter` raises."""
        if self.doors.enter(session, guest.session) is not None:
            return False
        guest.session = session
        return True

    def knock(self, address: str) -> tuple[str | None, Refusal | None]:
        """A player's connection from `address`: (the network it counts for, why it is not let in)."""
        network = self.doors.shared.counted(address)
        refusal = self.doors.knock(network)
        if refusal is not None:
            self._line.ended(refusal.outcome)
            return None, refusal
        return network, None

    def leave(self, session: str | None, network: str | None) -> None:
        """A connection has ended."""
        if session is not None:
            self.doors.leave(session)
        self.doors.go(network)

    def heard(self, guest: Guest, said: bytes, path: str | bytes, claims: MediaClaims, now: float) -> None:
        """With a request for `path` (without token) the player said so: a raw query, or the values of its CMCD headers; empty for nothing."""
        rules = self._rules
        if rules is not None:
            wanted = pace(said, rules)
            if wanted != guest.pace and differs(guest.pace, wanted):
                guest.pace = wanted
                guest.set_pace(wanted)
                self._line.add(Count.PACED)
        if self._hints is not None and MAY_HINT.search(said) is not None:
            name = path if isinstance(path, str) else path.decode("ascii")
            self._follow(self._hints.look(name, claims, said, now))

    def _follow(self, found: HintFate | Ahead | None) -> None:
        if isinstance(found, Ahead):
            sent = self._link.hint(found.key, found.first_block, found.last_block, found.version)
            found = HintFate.SENT if sent else HintFate.KEEPER_AWAY
        if found is not None:
            self._line.ended(found)

    def _count(self, refusal: Refusal) -> None:
        if refusal.pressure is not None:
            self._line.ended(refusal.pressure)

    # The clockwork.

    def sample(self, now: float, lag_s: float, connections: int, disk_queue: int) -> bool:
        """Four times a second: look at the loads. True when shedding began or ended."""
        doors = self.doors
        self._line.set(Count.SESSIONS, doors.sessions)
        sessions = self._box.total(Count.SESSIONS)
        doors.elsewhere = sessions - doors.sessions
        load = Load(lag_s, connections, self.egress.used if self.egress.is_capped else 0.0, disk_queue, sessions)
        before = doors.shedding
        doors.shedding = judge(before, load, doors.ceilings, now)
        self._line.set(Count.SHEDDING, int(doors.shedding.why is not None))
        return doors.shedding.why is not before.why

    def share(self, now: float) -> None:
        """Every `egress.TICK_S` under a cap: what this worker may send until the next."""
        box = self._box
        self.egress.tick(
            now, Crowd(box.total(Count.EGRESS_TAKEN), box.total(Count.EGRESS_ASKERS), box.total(Count.READY))
        )
        self._line.set(Count.EGRESS_ASKERS, self.egress.askers)
