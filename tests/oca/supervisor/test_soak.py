"""The short form of `make soak-serve`, and that its laws can be broken."""

from __future__ import annotations

from pathlib import Path

from tests.oca.supervisor.players import Fault
from tests.oca.supervisor.soak import Course, Failure, Kill, Report, soak


async def test_a_worker_killed_every_second_costs_only_its_own_connections(tmp_path: Path) -> None:
    report = await soak(Course(requests=6000, seconds=10.0, lines=24), tmp_path)
    assert report.broken_laws() == [], "\n".join(report.lines())
    assert report.failures, "a kill that nobody noticed proves nothing"
    assert report.deaths_counted == len(report.kills)


def test_a_failure_is_explained_only_by_a_kill_of_the_worker_that_held_its_connection() -> None:
    kills = [Kill(10.0, 1, frozenset({5000, 5001}))]
    for failure, explained in (
        (Failure(10.5, Fault.BROKEN, "", 5000, 3.0), True),
        (Failure(10.5, Fault.BROKEN, "", 5002, 3.0), False),
        (Failure(9.0, Fault.BROKEN, "", 5000, 3.0), False),
        (Failure(12.0, Fault.CUT, "", 5000, 11.0), False),
        (Failure(10.5, Fault.REFUSED, "", None, 10.0), False),
    ):
        assert failure.is_explained(kills) is explained


def test_every_law_can_be_broken() -> None:
    course = Course(requests=1000, seconds=2.0, workers=2)
    kills = [Kill(1.0, 1, frozenset({5000})), Kill(2.0, 2, frozenset())]

    def report() -> Report:
        made = Report(course, kills=list(kills), serving_at_end=2.0)
        made.complete_at_attempt.update({1: 999, 2: 1})
        return made

    assert report().broken_laws() == []
    for broken, words in (
        ({"given_up": 1}, "given up"),
        ({"serving_at_end": 1.0}, "only 1 workers serve"),
        ({"kills": []}, "only 0 workers were killed"),
        ({"unexpected_errors": 1.0}, "unexpected errors"),
        ({"failures": [Failure(1.5, Fault.REFUSED, "", None, 1.0)]}, "were refused"),
        ({"failures": [Failure(1.5, Fault.WRONG, "", 5000, 0.5)]}, "answers were wrong"),
        ({"failures": [Failure(1.5, Fault.CUT, "", 6000, 0.5)]}, "workers that lived"),
    ):
        made = report()
        for name, value in broken.items():
            setattr(made, name, value)
        assert any(words in law for law in made.broken_laws()), words
    made = report()
    made.complete_at_attempt[1], made.incomplete = 997, 2
    assert made.broken_laws() == ["2 requests were not complete within two attempts"]
    made.incomplete = 0
    assert "not every request was made" in made.broken_laws()
