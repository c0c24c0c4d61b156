"""Fifty scripted sessions on the whole system: the box that most of them use dies and comes back, and nobody's picture stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.steer.playing.facts import ENOUGH_BUFFER_S
from benchmarks.steer.playing.figures import level_at
from benchmarks.steer.playing.killing import LADDER, Setting, through_a_kill
from benchmarks.steer.playing.stage import open_stage

pytestmark = pytest.mark.system
WRONG_AT_MOST_S = 10.0
"""The bar of `steer/dead-box-s`."""
SETTING = Setting(sessions=50, arrive_s=4.0, kill_s=5.0, patience_s=15.0, dead_s=14.0, watch_s=52.0, ttl_s=4)


async def test_nobody_stalls_who_has_twenty_seconds_of_buffer_when_the_box_dies(tmp_path: Path) -> None:
    async with open_stage(tmp_path, int(SETTING.watch_s) + 4, LADDER, SETTING.ttl_s) as stage:
        outcome = await through_a_kill(stage, tmp_path, SETTING, lambda _words: None)
    sessions = outcome.sessions
    assert [one.failure for one in sessions if one.failure] == []
    assert len(outcome.at_it) >= SETTING.sessions // 4
    levels = [(one, level_at(one, outcome.killed_at_s)) for one in sessions]
    safe = [(one, level[1]) for one, level in levels if level is not None and level[0] >= ENOUGH_BUFFER_S]
    assert len(safe) >= SETTING.sessions // 2
    assert [one.number for one, stalls_before in safe if one.stalls > stalls_before] == []
    answers = [said for one in sessions for said in one.said]
    after = [
        said for said in answers if outcome.is_dead(said.at_s) and said.at_s > outcome.killed_at_s + WRONG_AT_MOST_S
    ]
    assert after
    assert [said for said in after if outcome.dead_hosts & set(said.hosts)] == []
    assert all(one.checked_bytes > 0 for one in sessions)
    assert all(one.watched_s == pytest.approx(SETTING.watch_s, abs=0.5) for one in sessions)
