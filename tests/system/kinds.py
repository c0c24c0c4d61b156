"""The contract of every kind of process: killed with −9 while people play, what may fail, in which words, and for how long.

What a row does not name must not fail. `seen` outages must have been seen, so that a kill which killed nothing is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.system.probes import BROKEN, NAMED, REFUSED
from tests.system.town import EBB, SLACK

OWN_ADDRESS = "its own address"
MISSING = "missing bytes"
LEFT_OUT = "left out"
PUBLISHED = "the ingest under way"
NEW_PLAYS = ("new play in a", "new play in b")
RESTART_S = 12.0
"""A service is there again: three times what a start takes on two busy cores."""
APPLIANCE_S = 20.0
DARK_S = 4.0
HELD_THERE = "held bytes there"
"""At the appliance that is hit; the others have their own."""
LATE = "504 upstream-timeout"


@dataclass(frozen=True, slots=True)
class Victim:
    """What is killed. `process` is the box's name; `part` is in the command line of a child of an appliance's supervisor; `plug` is the
    whole appliance. `in_use_in` takes the appliance that a network's plays are using."""

    process: str = ""
    part: str = ""
    plug: bool = False
    in_use_in: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """Something may fail with these words and works again at most `within_s` after the kill."""

    within_s: float
    words: tuple[str, ...]
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One kind. Running plays go on in every row. `dark_s`: how long it is looked on, or an appliance is without power."""

    kind: str
    victim: Victim
    says: str
    outages: Mapping[str, Outage] = field(default_factory=dict)
    misses_at: tuple[str, str] | None = None
    """Appliance and title: bytes it does not hold are asked for from the kill on."""
    cold_play: tuple[str, str] | None = None
    """Network and title: a play of what nobody holds is running."""
    ingest_under_way: bool = False
    dark_s: float = 2.5


DOWN = Outage(RESTART_S, (REFUSED, BROKEN))
IN_FLIGHT = Outage(RESTART_S, (BROKEN,), seen=False)
"""A request that was under way in the process that died."""

ROWS = (
    Row(
        "origin",
        Victim("origin"),
        "What an appliance or a peer holds is served. What nobody holds is an error until the origin is back; players ask again and lose "
        "no play as long as their buffer lasts.",
        {OWN_ADDRESS: DOWN, MISSING: Outage(RESTART_S, (LATE, "502 upstream-failed"))},
        misses_at=("a1", SLACK.id),
        cold_play=("a", EBB.id),
    ),
    Row(
        "control-plane",
        Victim("control-plane"),
        "Operators wait. Appliances and steering go on with what they know; a file whose digests an appliance has never heard "
        "cannot be fetched until it is back.",
        {OWN_ADDRESS: DOWN, MISSING: Outage(RESTART_S, ("502 upstream-failed", LATE), seen=False)},
        misses_at=("a2", SLACK.id),
    ),
    Row(
        "steering",
        Victim("steering"),
        "Playback takes its last ranking for the network and title, else the origin. Running players go on where they are, and ask steering again later.",
        {OWN_ADDRESS: DOWN},
    ),
    Row(
        "origin-worker",
        Victim("origin-worker-0"),
        "A title that was being made is taken over when the dead worker's lease has ended.",
        {OWN_ADDRESS: DOWN, PUBLISHED: Outage(60.0, ("not yet",))},
        ingest_under_way=True,
    ),
    Row(
        "auth",
        Victim("auth"),
        "Nobody logs in. Who is logged in goes on: access tokens are verified with the keys at hand.",
        {OWN_ADDRESS: DOWN, "log in": DOWN},
    ),
    Row(
        "catalog",
        Victim("catalog"),
        "Nobody browses. Home pages show what was known last, known titles play.",
        {OWN_ADDRESS: DOWN, "catalogue": DOWN},
    ),
    Row(
        "recommendation",
        Victim("recommendation"),
        "No home page. Browsing and playing go on.",
        {OWN_ADDRESS: DOWN, "home page": DOWN},
    ),
    Row(
        "playback",
        Victim("playback"),
        "Nobody starts a play. Running ones play on from their manifest; afterwards sessions and positions are as they were.",
        {OWN_ADDRESS: DOWN, **dict.fromkeys(NEW_PLAYS, DOWN)},
    ),
    Row(
        "worker",
        Victim(part="oca.worker", in_use_in="a"),
        "Its connections break, and players ask again. New ones wait in its queue until the successor takes them.",
        {HELD_THERE: IN_FLIGHT},
    ),
    Row(
        "keeper",
        Victim("b1", part="oca.keeper"),
        "What is held is served. What is missing waits for the successor, at most three seconds.",
        {MISSING: Outage(RESTART_S, (LATE,), seen=False)},
        misses_at=("b1", EBB.id),
        cold_play=("b", SLACK.id),
    ),
    Row(
        "supervisor",
        Victim("b1"),
        "Its workers serve on until their successors have bound beside them.",
        {OWN_ADDRESS: Outage(APPLIANCE_S, (REFUSED, BROKEN)), HELD_THERE: IN_FLIGHT},
    ),
    Row(
        "appliance",
        Victim(plug=True, in_use_in="a"),
        f"Without power for {DARK_S:g} s. Players go on from the next address; steering leaves it out until it beats again.",
        {
            OWN_ADDRESS: Outage(DARK_S + APPLIANCE_S, (REFUSED, BROKEN)),
            HELD_THERE: Outage(DARK_S + APPLIANCE_S, (REFUSED, BROKEN)),
            LEFT_OUT: Outage(DARK_S, (NAMED,), seen=False),
        },
        dark_s=DARK_S,
    ),
)
