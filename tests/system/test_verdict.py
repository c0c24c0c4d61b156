"""The judgement of a kill can fail: each way in which an evening may differ from the table is told."""

from __future__ import annotations

import pytest

from tests.system.killing import Death
from tests.system.kinds import DOWN, MISSING, OWN_ADDRESS, RESTART_S, Row, Victim
from tests.system.probes import BROKEN, REFUSED, SILENT, Answered
from tests.system.verdict import complaints, measured

KILLED_S = 100.0
ROW = Row("auth", Victim("auth"), "", {OWN_ADDRESS: DOWN})
WORKED = Answered(100.1, 100.2, "")


def fell(words: str, until_s: float) -> list[Answered]:
    """Failed once, and worked again at an instant."""
    return [Answered(100.0, 100.1, words), Answered(until_s - 0.1, until_s, "")]


def judged(**seen: list[Answered]) -> list[str]:
    names = {"own": OWN_ADDRESS, "missing": MISSING}
    return complaints(ROW, Death("auth", "auth", KILLED_S, 5.0, {names[name]: list(was) for name, was in seen.items()}))


def test_what_fails_as_the_table_says_is_no_complaint() -> None:
    assert judged(own=fell(REFUSED, 102.0), missing=[WORKED]) == []


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            {"own": fell(REFUSED, 102.0), "missing": fell(BROKEN, 101.0)},
            "missing bytes failed for 1.00 s: connection broken",
        ),
        ({"own": fell(SILENT, 102.0)}, "its own address failed in other words: no answer within 8 s"),
        ({"own": fell(REFUSED, 100 + RESTART_S + 1)}, "its own address works again after 13.00 s, not within 12"),
        ({"own": [WORKED]}, "its own address never failed: was anything killed?"),
        ({"missing": [WORKED]}, "its own address is in the table and was not asked"),
        ({"own": fell(REFUSED, 102.0), "missing": []}, "missing bytes was not asked after the kill"),
    ],
)
def test_every_difference_from_the_table_is_told(seen: dict[str, list[Answered]], told: str) -> None:
    assert judged(**seen) == [told]


def test_what_never_worked_again_is_out_for_ever_and_slow_answers_are_measured() -> None:
    assert measured([Answered(100.0, 100.1, REFUSED)], KILLED_S).again_s == float("inf")
    assert measured([Answered(100.0, 101.5, "")], KILLED_S).slowest_s == 1.5
