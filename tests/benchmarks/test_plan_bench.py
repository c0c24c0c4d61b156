"""The benchmark of planning: its instances stay as they were, its page says how rows stand, and a small night is planned whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks.plan import gaps, report, scale
from benchmarks.serve.rows import Plain, Results, Row, Verdict, plain

FOLDER = Path(gaps.FOLDER)
DIGESTS = {
    "churn": "81db5915cfe190afce47cdbf4d55825840a93c75878b389b07f42dc99ce848bc",
    "copies": "d3eedddc3eedcf3ee70901d03d55fb0a0a37438f0fe44dc737317183c7697d5b",
    "egress": "ed881296ccad4c096074ff784613857191b3ea5d1e83e2363a26b1777c11c95a",
    "fill": "5d8a00f6d2a1c40c0e3f3c14ed3f4a9bc0813f096dd860d8780b359315579150",
    "scale": "eae3724af7052a61d01c91dd251106bd12f71268f6ab1dfaaea09b5a8e66596c",
    "steering": "22315c7f2630c68d42c6666154f79d9fae7bd70ec154fca35f556b9409af507d",
    "two-types": "20555e9c24101b1fd5128083b3cd9a76f7565cc2c462cf6e287fcbf681af8842",
    "volume": "0a93b85cac7a88e9b04abf9fa6899d6891e6a61c248241f03d5727d5df75b6e3",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_an_instance_is_never_tuned(name: str) -> None:
    assert hashlib.sha256((FOLDER / f"{name}.yaml").read_bytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", gaps.CLASSES)
def test_every_class_of_the_bound_can_be_read(name: str) -> None:
    assert len(gaps.instance_of(name).seeds) == 5


def test_two_nights_of_a_small_world_are_planned_and_put_into_messages() -> None:
    found = scale.measure(2, 3000)
    first, second = found.nights
    assert first.orders == first.pins > 0
    assert 0 < second.orders < first.orders / 3
    assert second.pins >= 0.9 * first.pins
    assert first.message_bytes > second.message_bytes > 0
    assert 0 < first.worth <= first.bound


def test_the_page_says_how_rows_stand_on_either_side_of_a_bar() -> None:
    rows = (
        plain("plan/gap/churn", "part", [Plain(0.02, {"seed": 1.0})]),
        Row("plan/inside-gain", "points", 13.0, None, None, ()),
        Row("plan/band", "share", 0.9, None, None, ()),
        Row("plan/growth/10x1000", "s", 1.0, None, None, ()),
    )
    assert [report.standing(row) for row in rows] == [Verdict.BAR, Verdict.STRETCH, Verdict.MISSED, Verdict.NO_BAR]
    page = report.render(Results("a machine", "today", "make bench-plan", rows, {"load before": "0"}, {"fill": "why"}))
    assert "| `plan/gap/churn` | 0.02 | part | ≤ 0.03 | ≤ 0.01 | bar | – |" in page
    assert "- `plan/band`: 0.9, the bar is 0.75 to 0.85" in page
    assert "- `fill`: why" in page
