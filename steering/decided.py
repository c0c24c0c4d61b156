"""Decisions as lines of the steering log, and such lines explained in words. Pure.

What was believed of a site's appliances is written once per roster and put into the lines of all decisions made over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from contracts.decisions import FORMAT, BoxFacts, DecidedGroup, Decision, PlayExplanation, PlayMove
from contracts.instants import instant
from contracts.world import RankRequest, Why
from steering.candidates import Candidate, Roster
from steering.content_steering import Course, Steered
from steering.explaining import WORDS
from steering.prefixes import IpAddress, network_words
from steering.ranking import Ranked, View

MOVED = {
    Steered.GONE.value: "one of its places serves no more",
    Steered.DRAINING.value: "one of its places drains",
    Steered.SUSPECT.value: "one of its places is suspect: its heartbeats stopped",
    Steered.UNWELL.value: "one of its places has too low a score",
    Steered.FULL.value: "one of its places is nearly full, and it was of the share that makes room",
    Steered.SLOW.value: "its player reported too little for its lowest renditions, twice in a row",
    Steered.NETWORK.value: "its client is in another network",
    Steered.BACK.value: "an appliance is back",
}
"""What a move's reason is in a sentence."""
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Decision)


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `Decision` whose boxes are written already."""

    time: str
    client: str
    world: int
    site: str
    prefix: str
    groups: tuple[DecidedGroup, ...]
    boxes: dict[str, msgspec.Raw] = {}
    play: str = ""
    count: int = 3
    scheme: str = "http"
    v: int = 1
    steered: str = ""
    course: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class UnknownFormat(ValueError):
    """A line is of a newer format than this program reads, or is no decision; the message says which."""


class Recorder:
    """Makes lines. `ipv4_bits` and `ipv6_bits` say how much of an address is kept."""

    def __init__(self, ipv4_bits: int, ipv6_bits: int) -> None:
        self._bits = {4: ipv4_bits, 6: ipv6_bits}
        self._facts: dict[tuple[str, int, str], tuple[Roster, msgspec.Raw]] = {}
        self._second = -1
        self._words = ""

    def move(self, course: Course, wall_s: float) -> bytes:
        """The line of a move, with its end of line."""
        ranked = course.ranked
        assert ranked is not None, "a move comes from a ranking"
        made = self._line(course.session.request(str(ranked.view.client)), ranked, wall_s)
        moved = replace(made, v=FORMAT, steered=course.why.value, course=course.priority, left=course.left)
        return _ENCODER.encode(moved) + b"\n"

    def line(self, request: RankRequest, ranked: Ranked, wall_s: float) -> bytes:
        """The line of an answer, with its end of line."""
        return _ENCODER.encode(self._line(request, ranked, wall_s)) + b"\n"

    def _line(self, request: RankRequest, ranked: Ranked, wall_s: float) -> _Line:
        ranking, view = ranked.ranking, ranked.view
        groups = []
        for group, answer in zip(ranked.groups, ranking.groups, strict=True):
            choices = tuple([(choice.appliance_id, choice.site_id, choice.why.value) for choice in answer.choices])
            holders = tuple([box.id for box in holders_of(view, group.hashes)])
            groups.append(DecidedGroup(group.name, group.keys, choices, holders))
        return _Line(
            time=self._instant(wall_s),
            client=self.cut(view.client),
            world=ranking.world_number,
            site=ranking.site_id,
            prefix=ranking.prefix,
            groups=tuple(groups),
            boxes={roster.site_id: self._facts_of(roster, view) for roster, _ in view.own},
            play=request.play,
            count=request.count,
            scheme=request.scheme,
        )

    def _facts_of(self, roster: Roster, view: View) -> msgspec.Raw:
        known_as = (roster.site_id, view.client.version, view.scheme)
        known = self._facts.get(known_as)
        if known is None or known[0] is not roster:
            known = (roster, msgspec.Raw(_ENCODER.encode([facts_of(box) for box in roster.candidates])))
            self._facts[known_as] = known
        return known[1]

    def cut(self, client: IpAddress) -> str:
        """An address as the log has it."""
        kept = self._bits[client.version]
        drop = client.max_prefixlen - kept
        return network_words(client.version, kept, int(client) >> drop << drop)

    def _instant(self, wall_s: float) -> str:
        second = int(wall_s)
        if second != self._second:
            self._second, self._words = second, instant(second)[:-4]
        return f"{self._words}{int(1000 * (wall_s - second)):03d}Z"


def facts_of(candidate: Candidate) -> BoxFacts:
    """What was believed of a candidate."""
    standing = candidate.standing
    problem = candidate.problem.value if candidate.problem is not None else ""
    return BoxFacts(
        candidate.id,
        problem,
        round(standing.load, 4),
        candidate.score,
        round(standing.ramp, 3),
        standing.crowded,
        standing.full,
    )


def read(line: bytes) -> Decision:
    """Raises UnknownFormat."""
    try:
        found = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnknownFormat(f"no line of a steering log: {error}") from error
    if found.v > FORMAT:
        raise UnknownFormat(f"the steering log is of format {found.v}; this program reads up to {FORMAT}: upgrade it")
    return found


def told(history: Sequence[Decision]) -> PlayExplanation:
    """The decisions of a play, oldest first, in sentences: of the last ranking by group each choice, then each own appliance that was left
    out; of each move since where to and why. With no ranking among them the first move stands for it."""
    at = max((number for number, one in enumerate(history) if not one.steered), default=0)
    ranked = history[at]
    sentences = {group.group: tuple(_sentences(ranked, group)) for group in ranked.groups}
    return PlayExplanation(ranked, sentences, tuple(_move(one) for one in history[at:] if one.steered))


def _move(decision: Decision) -> PlayMove:
    words = MOVED.get(decision.steered, decision.steered)
    left = ", ".join(decision.left) or "the origin"
    sentence = f"It was moved from {left} to {decision.course[0] if decision.course else '(nothing)'}: {words}."
    return PlayMove(decision.time, decision.steered, decision.course, decision.left, sentence)


def _sentences(decision: Decision, group: DecidedGroup) -> Iterator[str]:
    facts = {box.id: box for boxes in decision.boxes.values() for box in boxes}
    chosen = set()
    for place, (appliance_id, _site, why) in enumerate(group.choices, start=1):
        chosen.add(appliance_id)
        yield f"{appliance_id or why} was number {place}: it {WORDS[Why(why)]}{_believed(facts.get(appliance_id))}."
    for box in facts.values():
        if box.id not in chosen:
            why_not = Why(box.problem) if box.problem else Why.NEARLY_FULL if box.full else Why.ENOUGH
            held = "; it held the file" if box.id in group.holders else ""
            yield f"{box.id} was left out: it {WORDS[why_not]}{_believed(box)}{held}."


def _believed(box: BoxFacts | None) -> str:
    if box is None:
        return ""
    words = [f"score {box.score:.2f}", f"load {box.load:.0%}"]
    if box.crowded:
        words.append("over its cluster's bound")
    if box.ramp < 1.0:
        words.append(f"back not long ago: counted for {box.ramp:.0%}")
    return f" ({', '.join(words)})"


def holders_of(view: View, hashes: tuple[int, ...]) -> Iterator[Candidate]:
    """The own appliances that hold all of some files, whether they are candidates or not."""
    for roster, _ in view.own:
        bits = roster.shelf.stock(hashes).holders
        for candidate in roster.candidates:
            if candidate.bit & bits:
                yield candidate
