"""The short form of `make soak-store KILLS=100`, and that its laws can be broken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.oca.appliance.crowd import End, Got
from tests.oca.appliance.killing import Killed, Killing, is_lawful, kill_keepers


async def test_a_killed_keeper_leaves_only_complete_aborted_or_504_answers(tmp_path: Path) -> None:
    report = await kill_keepers(Killing(kills=8, readers=200), tmp_path)
    assert report.broken_laws() == [], "\n".join(report.lines())


def test_what_a_keepers_death_may_look_like() -> None:
    lawful = [Got(End.COMPLETE, 206), Got(End.CUT, 206), Got(End.STATUS, 504)]
    unlawful = [Got(End.WRONG, 206), Got(End.STATUS, 502), Got(End.BROKEN), Got(End.REFUSED), Got(End.HUNG)]
    assert all(is_lawful(found) for found in lawful)
    assert not any(is_lawful(found) for found in unlawful)


def test_every_law_about_killed_keepers_can_be_broken() -> None:
    def report() -> Killed:
        made = Killed(Killing(kills=2), [5, 6], during_fetches=2)
        made.ended, made.answered_at_end = Counter(complete=9), Counter(complete=3)
        return made

    assert report().broken_laws() == []
    for broken, words in (
        ({"pids": [5]}, "only 1 keepers"),
        ({"pids": [5, 5]}, "killed twice"),
        ({"during_fetches": 0}, "fell into fetches"),
        ({"strange": [Got(End.WRONG)]}, "none of complete"),
        ({"ended": Counter()}, "nobody got anything"),
        ({"answered_at_end": Counter({"complete": 2, "504": 1})}, "at the end"),
        ({"worker_deaths": 1.0}, "1 workers died"),
    ):
        made = report()
        for name, value in broken.items():
            setattr(made, name, value)
        assert any(words in law for law in made.broken_laws()), words
