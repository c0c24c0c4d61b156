"""Which report of routes is due: what changed on top of what the control plane has.

Laws
- A session that has just come up is told when its table is whole, or after UNSETTLED_LOOKS: half a table would withdraw the rest.
- A change is told on top of the state that was acknowledged; what was sent and not answered is sent again, whole.
- A session that is down is told at once, again after its reason changed, and every REPEAT_LOOKS: a control plane that started meanwhile
  believes its archive.
- A whole table that was refused, because it is more than the maximum, is sent again after UNSETTLED_LOOKS: the maximum may be another then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.routes import LONGEST_DETAIL, Route, RouteAnswer, RouteReport
from oca.routes.table import Heard

UNSETTLED_LOOKS = 15
REPEAT_LOOKS = 15


@dataclass(slots=True)
class _Told:
    """What the control plane has of one session. `state` is empty when it has to be told everything."""

    state: str = ""
    routes: Mapping[str, Route] = field(default_factory=dict)
    down: str | None = None
    """The reason that was told; None when it was not told to be down."""
    looks: int = 0
    down_looks: int = 0
    """Since it was told to be down."""
    waits: int = 0
    """Looks to come before a refused table is sent again."""


class Telling:
    """What is known to have arrived. `boot` makes states of this start unlike those of any other."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._number = 0
        self._told: dict[str, _Told] = {}

    def told(self, name: str) -> int:
        """How many routes of a session have arrived."""
        known = self._told.get(name)
        return len(known.routes) if known is not None else 0

    def report(self, heard: Heard) -> RouteReport | None:
        """None when nothing is due. Send it, and say how it ended with `arrived` or `failed`."""
        known = self._told.setdefault(heard.name, _Told())
        if not heard.up:
            known.looks = known.waits = 0
            known.down_looks += 1
            if known.down == heard.detail and known.down_looks < REPEAT_LOOKS:
                return None
            why = heard.detail[:LONGEST_DETAIL]
            return RouteReport(heard.name, False, "", peer=heard.peer, peer_as=heard.peer_as, detail=why)
        if known.waits:
            known.waits -= 1
            return None
        if not heard.settled and not known.state and known.looks < UNSETTLED_LOOKS:
            known.looks += 1
            return None
        changed, gone = _difference(known.routes, heard.routes)
        if known.state and not changed and not gone:
            return None
        self._number += 1
        is_whole = not known.state
        return RouteReport(
            heard.name,
            True,
            f"{self._boot}-{self._number}",
            known.state,
            tuple(heard.routes.values()) if is_whole else changed,
            () if is_whole else gone,
            heard.peer,
            heard.peer_as,
        )

    def arrived(self, heard: Heard, report: RouteReport, answer: RouteAnswer) -> None:
        known = self._told.setdefault(heard.name, _Told())
        if not report.up:
            known.state, known.routes, known.down, known.down_looks = "", {}, heard.detail, 0
        elif answer.want_full:
            known.state, known.routes, known.down = "", {}, None
            known.waits = 0 if report.after else UNSETTLED_LOOKS
        else:
            known.state, known.routes, known.down, known.looks = report.state, heard.routes, None, 0

    def failed(self, heard: Heard) -> None:
        """Nobody knows whether it arrived."""
        known = self._told.setdefault(heard.name, _Told())
        known.state, known.routes, known.down = "", {}, None


def _difference(before: Mapping[str, Route], after: Mapping[str, Route]) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    changed = tuple(route for cidr, route in after.items() if before.get(cidr) != route)
    return changed, tuple(cidr for cidr in before if cidr not in after)
