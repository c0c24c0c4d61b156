"""The steering log: what was decided for whom, and what was believed then (docs/ranking.md). One JSON object a line."""

from __future__ import annotations

import msgspec

FORMAT = 2
"""Lines of moves have it; those of rankings are of format 1."""


class BoxFacts(msgspec.Struct, frozen=True, array_like=True):
    """One appliance of a site that announces the client's address, as it was believed at a decision.

    `problem` is why it was no candidate (a `Why` word), empty for none. `load` is a share of its egress, with what was reserved.
    """

    id: str
    problem: str
    load: float
    score: float
    ramp: float = 1.0
    crowded: bool = False
    full: bool = False


class DecidedGroup(msgspec.Struct, frozen=True, array_like=True):
    """`choices` are (appliance id, empty for what is none; site id; `Why` word), best first; `holders` are the client's own
    appliances that held the group's files, whether they were candidates or not."""

    group: str
    keys: tuple[str, ...]
    choices: tuple[tuple[str, str, str], ...]
    holders: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer of `POST /v1/rank`, or a move of a running session. `boxes` are by own site, the best first; `client` is cut as the settings say."""

    time: str
    """UTC, RFC 3339 with milliseconds."""
    client: str
    world: int
    site: str
    prefix: str
    groups: tuple[DecidedGroup, ...]
    boxes: dict[str, tuple[BoxFacts, ...]] = {}
    play: str = ""
    count: int = 3
    scheme: str = "http"
    v: int = 1
    steered: str = ""
    """Why the session was moved (a word of `steering.content_steering.Steered`); empty for a ranking. `groups` are what it was ranked anew by."""
    course: tuple[str, ...] = ()
    """The order of pathways that its player was given with the move."""
    left: tuple[str, ...] = ()
    """The appliances that it left."""


class PlayMove(msgspec.Struct, frozen=True):
    """A move of a running session, and the same in a sentence."""

    time: str
    why: str
    course: tuple[str, ...]
    left: tuple[str, ...]
    sentence: str


class PlayExplanation(msgspec.Struct, frozen=True):
    """`GET /v1/explain?play=ID`: the last ranking for a playback session, the same in sentences, by group, and where it was moved since."""

    decision: Decision
    sentences: dict[str, tuple[str, ...]]
    moves: tuple[PlayMove, ...] = ()


class PlayQuery(msgspec.Struct, frozen=True):
    """Which session, and from which instant on (ISO 8601; without one, LONGEST_SESSION_S before now): no older line is looked for in files."""

    play: str
    since: str = ""
