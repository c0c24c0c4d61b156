"""What was seen after a kill, measured, judged by the table, and written down as a page."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.killing import Death, Evening
from tests.system.kinds import HELD_THERE, LEFT_OUT, MISSING, NEW_PLAYS, OWN_ADDRESS, PUBLISHED, ROWS, Row
from tests.system.probes import Answered

PAGE = Path(__file__).parents[2] / "docs" / "modes" / "killed-process.md"
NOTICED_S = 0.5
COLUMNS = {
    "new plays": NEW_PLAYS,
    "logging in": ("log in",),
    "home page": ("home page",),
    "catalogue": ("catalogue",),
    "bytes held": (HELD_THERE, "held bytes at a1", "held bytes at a2", "held bytes at b1"),
    "bytes missing": (MISSING,),
    "its own address": (OWN_ADDRESS,),
    "besides": (LEFT_OUT, PUBLISHED),
}
"""Column of the page → the probes that stand in it."""
HEAD = """# A process is killed

What people notice when one process of a kind dies by `kill -9` in the middle of an evening: plays run in both networks, others press play, log in and browse, and
somebody asks every appliance for bytes all the time. A supervisor (the one box, systemd) starts it again at once.

**No byte was wrong**: players compare every block with its published digest, the others compare with the origin's disk. **Running plays go on** in every row.

The table is `tests/system/kinds.py`; `make test` holds it with wide bounds (in brackets: when the thing works again at the latest). The figures are of one run,
{date}, on {cores} cores, counted from the kill until the thing worked again; written with
`LOWTIDE_WRITE_DOCS=1 make test ARGS=tests/system/test_killing_each_process.py`.

"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One probe after one kill. `again_s` is 0 when nothing failed, infinite when it never worked again."""

    attempts: int
    words: tuple[str, ...]
    again_s: float
    slowest_s: float


def measured(seen: Sequence[Answered], at_s: float) -> Seen:
    failed = [one for one in seen if one.words]
    slowest_s = max((one.ended_s - one.began_s for one in seen if not one.words), default=0.0)
    if not failed:
        return Seen(len(seen), (), 0.0, slowest_s)
    last = failed[-1].began_s
    again = min((one.ended_s for one in seen if one.began_s >= last and not one.words), default=float("inf"))
    words = tuple(word for word, _count in Counter(one.words for one in failed).most_common())
    return Seen(len(seen), words, again - at_s, slowest_s)


def complaints(row: Row, death: Death) -> list[str]:
    """Everything that was not as the table says, in words. What the table does not name must have worked all the time."""
    found = [f"{name} is in the table and was not asked" for name in row.outages if name not in death.seen]
    for name, attempts in death.seen.items():
        seen, outage = measured(attempts, death.at_s), row.outages.get(name)
        if not attempts:
            found.append(f"{name} was not asked after the kill")
        if outage is None:
            if seen.words:
                found.append(f"{name} failed for {seen.again_s:.2f} s: {', '.join(seen.words)}")
            continue
        if set(seen.words) - set(outage.words):
            found.append(f"{name} failed in other words: {', '.join(seen.words)}")
        if seen.again_s > outage.within_s:
            found.append(f"{name} works again after {seen.again_s:.2f} s, not within {outage.within_s:g}")
        if outage.seen and not seen.words:
            found.append(f"{name} never failed: was anything killed?")
    return found


def page(evening: Evening) -> str:
    """The page with the figures of this evening."""
    head = HEAD.format(date=time.strftime("%Y-%m-%d", time.gmtime()), cores=os.cpu_count())
    names = ("kind", "running plays", *COLUMNS)
    lines = [_line(names), _line(["---"] * len(names))]
    lines += [_line(_cells(row, evening)) for row in ROWS]
    says = [f"- **{row.kind}**: {row.says}" for row in ROWS]
    return head + "\n".join([*lines, "", "## In words", "", *says, ""])


def kinds_of(text: str) -> list[str]:
    """The kinds of a page, from the first column of its table."""
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return [row.strip("`") for row in rows[2:]]


def _cells(row: Row, evening: Evening) -> list[str]:
    death = evening.deaths[row.kind]
    plays = evening.running_at(death.at_s)
    stalls = sum(play.report.stalls for play in plays)
    cold = ", one of what nobody held" if row.cold_play else ""
    told = f"{len(plays)} go on{cold}" + (f", {stalls} stall" if stalls else "")
    return [f"`{row.kind}`", told, *(_cell(row, death, names) for names in COLUMNS.values())]


def _cell(row: Row, death: Death, names: Sequence[str]) -> str:
    found = {name: measured(death.seen[name], death.at_s) for name in names if name in death.seen}
    if not found:
        return ""
    if LEFT_OUT in found:
        return f"steering leaves it out within {found[LEFT_OUT].again_s or death.seen[LEFT_OUT][0].ended_s - death.at_s:.1f} s"
    name, worst = max(found.items(), key=lambda item: (item[1].again_s, item[1].slowest_s))
    if worst.words:
        bound = f" (≤ {row.outages[name].within_s:g} s)" if name in row.outages else ""
        return f"{_words(name, worst.words)} for {worst.again_s:.1f} s{bound}"
    return f"wait at most {worst.slowest_s:.1f} s" if worst.slowest_s >= NOTICED_S else "go on"


def _words(name: str, words: Sequence[str]) -> str:
    if name == PUBLISHED:
        return "a title being made waits"
    return ", ".join(words)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
