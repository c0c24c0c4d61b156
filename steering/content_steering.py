"""How a running session goes on: a pure function of what it was given, the scene of now and what its player says (DESIGN §5).

Laws
- A session stays where it is while its place is well: neither a better place nor one that came back moves it.
- It is moved when its place is no candidate any more (gone, drained or draining, suspect, unwell), when its client is in another network, when
  its place is nearly full, or when its player reports too little for its lowest renditions twice in a row.
- From a place that is nearly full only such a share moves as brings it back below; from there, and for a slow player, only to a place with room.
- A slow player is moved once in `slow_move_s` at most, and its word counts for nobody else.
- Who was sent to the origin comes back when an appliance that it would be sent to does, by that one's slow start.
- A client is in another network when it asked from one site's twice in a row, and it is moved for that once in `ttl_s` at most.
- A suspicion that is doubted moves nobody. What is suspect or worse comes before the origin only while it may still serve.
- The order is never empty and names nothing twice; the origin is the last of what may serve. Clones have the scheme, port and path of `pathway-1`,
  and are made only where all its addresses agree in these.
- What was last said is said again: a player that missed an answer misses nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from hashlib import blake2b
from urllib.parse import urlsplit

from msgspec.structs import replace

from contracts.content_steering import PathwayClone, UriReplacement
from contracts.pathways import MOST_APPLIANCES, ORIGIN_PATHWAY, pathway, pathway_names
from contracts.places import ApplianceState
from contracts.world import Why
from steering.candidates import Candidate, Scene
from steering.errors import NothingKnown
from steering.heard import Heard
from steering.prefixes import IpAddress
from steering.ranking import MOST_APPLIANCES as MOST_RANKED
from steering.ranking import Ranked, look, ranked_in
from steering.sessions import Session, hostless, is_inside, network_of, somebody_in, version_of
from steering.standing import FULL_MARGIN

LOW_REPORTS = 2
MOST_DRAWS = 32
"""Where half of a session's network is another site's, one session in four billion finds nobody of its own."""
SMOOTHING = 0.5
"""What a new report of throughput counts against all before."""
_BASE = pathway(1)


class Steered(Enum):
    """Why an answer says what it says (log word). Those of MOVES changed the order."""

    AS_MANIFEST = "as-the-manifest-says"
    STAYS = "stays-where-it-was-steered"
    NOWHERE = "nowhere-better"
    GONE = "place-gone"
    DRAINING = "place-draining"
    SUSPECT = "place-suspect"
    UNWELL = "place-unwell"
    FULL = "place-nearly-full"
    SLOW = "too-slow-for-its-lowest-renditions"
    NETWORK = "client-in-another-network"
    BACK = "an-appliance-is-back"


MOVES = (
    Steered.GONE, Steered.DRAINING, Steered.SUSPECT, Steered.UNWELL, Steered.FULL, Steered.SLOW, Steered.NETWORK, Steered.BACK
)  # fmt: skip


class Fate(IntEnum):
    """How a place is for a session that runs; the lower, the better."""

    WELL = 0
    BUSY = 1
    """Nearly full, full, or refusing new sessions: those that run are served."""
    DOUBTED = 2
    UNWELL = 3
    DRAINING = 4
    SUSPECT = 5
    GONE = 6


_LEAVING = {
    Fate.GONE: Steered.GONE,
    Fate.SUSPECT: Steered.SUSPECT,
    Fate.DRAINING: Steered.DRAINING,
    Fate.UNWELL: Steered.UNWELL,
}
_SERVING = Fate.DOUBTED
"""Up to here a place serves as if nothing were."""


@dataclass(frozen=True, slots=True)
class SteeringRules:
    """Seconds (see steering.config)."""

    ttl_s: int = 60
    trouble_ttl_s: int = 10
    slow_move_s: int = 120

    @property
    def counted_s(self) -> int:
        """How long a move makes older states of its session count for nothing (steering.counted)."""
        return max(self.ttl_s, self.slow_move_s)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `client` is the address it came from, None where that says nothing; `live` is whether the world is kept up."""

    heard: Heard
    client: IpAddress | None
    live: bool
    now_s: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a session goes on. `session` is what is sealed into the next address; of a move, `left` are the appliances that it left,
    `reserved` those it went to, and `ranked` is the ranking that it came from."""

    why: Steered
    priority: tuple[str, ...]
    clones: tuple[PathwayClone, ...]
    ttl_s: int
    session: Session
    left: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    ranked: Ranked | None = None


def steer(scene: Scene, session: Session, asked: Asked, rules: SteeringRules) -> Course:
    """The answer for one session."""
    away = _site_away(scene, session, asked.client)
    has_moved = away != "" and away == session.away
    session = replace(_with_report(session, asked.heard), away=away)
    places = _Places(scene, session, asked, has_moved)
    why = Steered.STAYS if session.course else Steered.AS_MANIFEST
    for wanted in _wanted(places, rules):
        to, ranked = places.elsewhere(wanted)
        if ranked is None or not to:
            why = why if wanted is Steered.BACK else Steered.NOWHERE
        elif wanted is Steered.NETWORK and to[0] == places.head:
            # It is where its new network would be sent to as well: only whose client it is has changed.
            return _answer(_Places(scene, _at_home(places, ranked), asked, has_moved=False), why, rules)
        elif to[0] == places.head:
            why = Steered.NOWHERE
        elif wanted is not Steered.BACK or _drawn(places, rules) < places.ramp(to):
            return _moved(places, wanted, to, ranked, rules)
    return _answer(places, why, rules)


def _moved(places: _Places, why: Steered, to: tuple[str, ...], ranked: Ranked, rules: SteeringRules) -> Course:
    session, asked = places.session, places.asked
    slow_moved_at = asked.now_s if why is Steered.SLOW else session.slow_moved_at
    home = _at_home(places, ranked) if why is Steered.NETWORK else session
    moved = replace(home, course=to, moved_at=asked.now_s, low=0, slow_moved_at=slow_moved_at)
    after = _Places(places.scene, moved, asked, places.has_moved and why is not Steered.NETWORK)
    course = _answer(after, why, rules)
    return Course(why, course.priority, course.clones, course.ttl_s, moved, places.here, after.here, ranked)


def _at_home(places: _Places, ranked: Ranked) -> Session:
    """The session as one of the network that its client is in now."""
    client = network_of(places.client(), ranked.ranking.prefix)
    return replace(places.session, client=client, site=ranked.ranking.site_id, away="")


class _Places:
    """The places of a session as they are now. `has_moved` says that its client counts as one of the network that it asks from."""

    def __init__(self, scene: Scene, session: Session, asked: Asked, has_moved: bool) -> None:
        self.scene = scene
        self.asked = asked
        self.session = session
        self.has_moved = has_moved
        self._version = asked.client.version if has_moved and asked.client else version_of(session.client)
        self._known: dict[str, Candidate | None] = {}
        self._led = {pathway(number): session.at(number) for number in range(1, session.pathways + 1)}
        self.head = session.course[0] if session.course else _BASE
        self.here = tuple(dict.fromkeys(filter(None, self.boxes_of(self.head))))

    def client(self) -> str:
        """The address that the title is ranked anew for."""
        return str(self.asked.client) if self.has_moved else _somebody_of(self.scene, self.session)

    def boxes_of(self, name: str) -> tuple[str, ...]:
        """The appliances that a pathway or clone leads to, by group; empty where it leads to the origin."""
        found = self._led.get(name)
        if found is not None:
            return found
        return () if name in (ORIGIN_PATHWAY, _BASE) else (name,) * len(self.session.places)

    def candidate(self, box: str) -> Candidate | None:
        """An appliance as the session's client sees it; None for one that there is no more."""
        if box not in self._known:
            known = self.scene.world.appliances.get(box)
            roster = self.scene.roster(known.site_id, self._version, self.session.scheme) if known else None
            self._known[box] = next((one for one in roster.candidates if one.id == box), None) if roster else None
        return self._known[box]

    def fate(self, box: str) -> Fate:
        found = self.candidate(box)
        return Fate.GONE if found is None else fate_of(found, box in self.scene.world.doubted)

    def worst(self, boxes: Iterable[str]) -> Fate:
        return max(map(self.fate, boxes), default=Fate.WELL)

    def losses(self, name: str) -> int:
        """How many renditions of a pathway do not serve as if nothing were."""
        return sum(1 for box in self.boxes_of(name) if box and self.fate(box) > _SERVING)

    def is_lost(self, name: str) -> bool:
        """Whether no rendition of a pathway can be served there."""
        boxes = self.boxes_of(name)
        return bool(boxes) and all(box and self.fate(box) is Fate.GONE for box in boxes)

    def is_well(self, name: str) -> bool:
        """Whether a pathway has an appliance and all of its are well."""
        boxes = tuple(filter(None, self.boxes_of(name)))
        return bool(boxes) and self.worst(boxes) is Fate.WELL

    def names(self) -> tuple[str, ...]:
        """The manifest's pathways, the origin last."""
        return pathway_names(self.session.pathways)

    def clone(self, box: str) -> PathwayClone | None:
        """The pathway of the manifest's renditions on one appliance; None where no host alone makes it."""
        found = self.candidate(box)
        session = self.session
        if found is None or not found.url or not session.pathways or box in self.names():
            return None
        if not session.base or hostless(found.url) != session.base:
            return None
        return PathwayClone(_BASE, box, UriReplacement(_host(found.url, with_port=self.asked.heard.takes_port)))

    def ramp(self, to: Iterable[str]) -> float:
        """The slow start of the place that is furthest with it; a pathway is as far as the last of its appliances."""
        boxes = (map(self.candidate, filter(None, self.boxes_of(name))) for name in to)
        return max(min((one.standing.ramp if one else 0.0 for one in its), default=0.0) for its in boxes)

    def elsewhere(self, why: Steered) -> tuple[tuple[str, ...], Ranked | None]:
        """(where to go, best first and perhaps where it is; the ranking it comes from); nothing when nothing is better."""
        count = min(MOST_RANKED, MOST_APPLIANCES + len(self.here))
        try:
            ranked = ranked_in(self.scene, replace(self.session.request(self.client()), count=count))
        except NothingKnown:
            return (), None
        most = self._most(why)
        hosts = [box for box in self._hosts(ranked) if self.fate(box) <= most]
        if why is Steered.SLOW:
            hosts = self._for_slow(hosts)
        return tuple(filter(None, map(self._name, hosts)))[:MOST_APPLIANCES] or self._other_pathway(why), ranked

    def _most(self, why: Steered) -> Fate:
        """The worst fate that is better than staying."""
        if why in (Steered.FULL, Steered.SLOW, Steered.BACK):
            return Fate.WELL
        if why is Steered.NETWORK:
            return Fate.DOUBTED
        return Fate(self.worst(self.here) - 1)

    def _hosts(self, ranked: Ranked) -> list[str]:
        """Appliances of a ranking, best first: the well ones, then who is high up for many groups."""
        points: dict[str, int] = defaultdict(int)
        for group in ranked.ranking.groups:
            for place, choice in enumerate(group.choices):
                if choice.appliance_id:
                    points[choice.appliance_id] += MOST_RANKED - place
        return sorted(points, key=lambda box: (self.fate(box), -points[box], box))

    def _for_slow(self, hosts: Sequence[str]) -> list[str]:
        """Appliances that are not used; behind them, where several are, each of these alone: nobody knows which one is the slow one."""
        others = [box for box in hosts if box not in self.here]
        return [*others, *(box for box in hosts if box in self.here)] if len(self.here) > 1 else others

    def _name(self, box: str) -> str:
        """What leads to one appliance for all renditions: a pathway of the manifest, else a clone; empty for neither."""
        own = next((name for name, boxes in self._led.items() if set(boxes) == {box}), "")
        return own or (box if self.clone(box) is not None else "")

    def _other_pathway(self, why: Steered) -> tuple[str, ...]:
        """Where no clone leads: the pathway with the fewest losses, if it has fewer; the origin when each lacks a rendition, for it has all.
        From the origin only to one that is well, or it would be left at once."""
        if why in (Steered.FULL, Steered.SLOW, Steered.NETWORK):
            return ()
        names = self.names()[:-1]
        if why is Steered.BACK:
            return tuple(name for name in names if self.is_well(name))[:1]
        best = min(names, key=self._damage, default=ORIGIN_PATHWAY)
        if best == ORIGIN_PATHWAY or self._lacks_any(best):
            return (ORIGIN_PATHWAY,)
        return (best,) if self._damage(best) < self._damage(self.head) else ()

    def _damage(self, name: str) -> tuple[bool, int]:
        return self._lacks_any(name), self.losses(name)

    def _lacks_any(self, name: str) -> bool:
        """Whether a rendition of a pathway cannot be served there."""
        return self.worst(filter(None, self.boxes_of(name))) is Fate.GONE


def fate_of(candidate: Candidate, is_doubted: bool) -> Fate:
    """How an appliance is for a session that runs there."""
    match candidate.problem:
        case None:
            return Fate.BUSY if candidate.standing.full else Fate.WELL
        case Why.OVERLOADED | Why.SHEDDING:
            return Fate.BUSY
        case Why.UNHEALTHY:
            return Fate.UNWELL
        case Why.SUSPECT:
            return Fate.DOUBTED if is_doubted else Fate.SUSPECT
        case Why.NOT_LIVE if candidate.appliance.state is ApplianceState.DRAINING:
            return Fate.SUSPECT if candidate.suspect else Fate.DRAINING
        case _:
            return Fate.GONE


def _wanted(places: _Places, rules: SteeringRules) -> Iterator[Steered]:
    """Why the session should be moved, the most pressing first; nothing when it should not."""
    session, asked = places.session, places.asked
    if places.has_moved and asked.now_s - session.moved_at >= rules.ttl_s:
        yield Steered.NETWORK
    leaving = _LEAVING.get(places.worst(places.here))
    if leaving is not None:
        yield leaving
    elif places.head == ORIGIN_PATHWAY:
        yield Steered.BACK
    elif any(_is_of_excess(places, box, rules) for box in places.here):
        yield Steered.FULL
    elif places.here and session.low >= LOW_REPORTS and asked.now_s - session.slow_moved_at >= rules.slow_move_s:
        yield Steered.SLOW


def _is_of_excess(places: _Places, box: str, rules: SteeringRules) -> bool:
    """Whether a session is of the share that an appliance which is nearly full has too many of."""
    found = places.candidate(box)
    if found is None or not (found.standing.full or found.problem is Why.OVERLOADED):
        return False
    load = max(found.standing.load, places.scene.world.health[box].load)
    goal = places.scene.rules.spill_from - FULL_MARGIN
    return load > goal and _drawn(places, rules) < (load - goal) / load


def _drawn(places: _Places, rules: SteeringRules) -> float:
    """A number in [0, 1) of a session and a moment: each session draws once in `trouble_ttl_s`."""
    name = f"{places.session.play}\0{places.asked.now_s // rules.trouble_ttl_s}"
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) / 2.0**48


def _site_away(scene: Scene, session: Session, client: IpAddress | None) -> str:
    """The site that is nearest where a session's client is now, if it is another one; else empty. An address that nobody announces says
    nothing: it may be a proxy's."""
    if client is None or is_inside(client, session.client) or not scene.world.covering(client):
        return ""
    site = look(scene, session.request(str(client))).site_id
    return site if site != session.site else ""


def _somebody_of(scene: Scene, session: Session) -> str:
    """Somebody in the session's network for whom its site is nearest: a longer prefix of that network may be another site's."""
    drawn = (somebody_in(session.client, session.play, number) for number in range(MOST_DRAWS))
    its = (address for address in drawn if look(scene, session.request(address)).site_id == session.site)
    return next(its, somebody_in(session.client, session.play))


def _with_report(session: Session, heard: Heard) -> Session:
    """A report of another pathway than the one it was sent to says nothing of that one."""
    head = session.course[0] if session.course else _BASE
    if not heard.throughput_bps or heard.pathway not in ("", head):
        return session
    kbps = int(heard.throughput_bps / 1000)
    smoothed = int(SMOOTHING * kbps + (1 - SMOOTHING) * session.throughput_kbps) if session.throughput_kbps else kbps
    low = min(session.low + 1, LOW_REPORTS) if kbps < session.needs_kbps else 0
    return replace(session, throughput_kbps=smoothed, low=low)


def _answer(places: _Places, why: Steered, rules: SteeringRules) -> Course:
    names = places.names()
    course = places.session.course
    cloned = [name for name in course if name not in names and (name == places.head or not places.is_lost(name))]
    clones = tuple(filter(None, map(places.clone, cloned)))
    priority = _order(places, {clone.id for clone in clones})
    return Course(why, priority, clones, _ttl(places, why, rules), places.session)


def _order(places: _Places, cloned: set[str]) -> tuple[str, ...]:
    """First where it was steered to, then the other pathways by what they lost, the origin last of what may serve."""
    names = places.names()
    first = [name for name in (*places.session.course, places.head) if name in cloned or name in names]
    rest = sorted((name for name in names[:-1] if not places.is_lost(name)), key=places.losses)
    return tuple(dict.fromkeys((*first, *rest, ORIGIN_PATHWAY)))


def _ttl(places: _Places, why: Steered, rules: SteeringRules) -> int:
    session = places.session
    boxes = (*session.boxes, *(box for name in session.course for box in places.boxes_of(name) if box))
    has_trouble = any(Fate.WELL < places.fate(box) < Fate.GONE for box in boxes)
    was_moved = places.asked.now_s - session.moved_at < rules.ttl_s
    if (
        has_trouble
        or was_moved
        or (session.away and not places.has_moved)
        or why is Steered.NOWHERE
        or not places.asked.live
        or places.head == ORIGIN_PATHWAY
    ):
        return rules.trouble_ttl_s
    return rules.ttl_s


def _host(url: str, with_port: bool) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{parts.port}" if with_port and parts.port is not None else shown
