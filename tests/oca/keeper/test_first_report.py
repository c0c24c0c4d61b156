"""What a keeper says of its box before it knows."""

from __future__ import annotations

from pathlib import Path

from tests.oca.keeper.lab import keeper_lab, until


async def test_a_keeper_that_has_just_started_gives_its_workers_a_moment_to_link(tmp_path: Path) -> None:
    """They served all the time; a score of 0 would take the box out of the answers until two more reports have come."""
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        await until(lambda: lab.plane.reports)
        assert "no-workers" not in lab.plane.reports[0].reasons
        await until(lambda: "no-workers" in lab.plane.reports[-1].reasons)
