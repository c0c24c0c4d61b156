"""Each kind of process is killed once during playback: which plays go on, what fails in which words, within how many seconds it
works again, and that no byte was wrong. The table is `kinds.ROWS`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from demo.scenario import NETWORKS
from tests.system.killing import Evening, live_through
from tests.system.kinds import RESTART_S, ROWS, Row
from tests.system.town import Town
from tests.system.verdict import PAGE, complaints, kinds_of, page

pytestmark = [pytest.mark.slow]
each_kind = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def evening(system: Town) -> AsyncIterator[Evening]:
    """One evening for all kinds. `LOWTIDE_WRITE_DOCS=1` writes its figures into the documents."""
    lived = await live_through(system, ROWS)
    if os.environ.get("LOWTIDE_WRITE_DOCS") == "1":
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(lived))
    yield lived


@each_kind
def test_what_fails_after_a_kill_is_what_the_table_says(row: Row, evening: Evening) -> None:
    assert complaints(row, evening.deaths[row.kind]) == []


@each_kind
def test_plays_that_run_through_a_kill_go_on_in_both_networks(row: Row, evening: Evening) -> None:
    plays = evening.running_at(evening.deaths[row.kind].at_s)
    assert {play.network for play in plays} == {network.site_id for network in NETWORKS}
    assert [play.report.failure for play in plays if play.report.failure] == []
    assert max(play.report.stalled_s for play in plays) <= RESTART_S
    if row.cold_play is not None:
        assert row.cold_play in {(play.network, play.title_id) for play in plays}


def test_no_byte_of_the_evening_was_wrong(evening: Evening) -> None:
    """Wrong bytes end a play or a probe with an error of their own, which ends the evening; here everything that came was proven."""
    assert len(evening.plays) >= 8
    for play in evening.plays:
        assert play.report.checked_bytes >= play.report.received_bytes > 0, play.title_id


def test_the_page_of_killed_processes_has_a_row_for_every_kind() -> None:
    assert kinds_of(PAGE.read_text()) == [row.kind for row in ROWS]
