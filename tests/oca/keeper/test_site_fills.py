"""Whole appliances of one site fill each other over mutual TLS, at a capped rate, and what happens to them meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import httpx

from contracts.digests import BLOCK_BYTES
from oca.store.batching import Batch
from tests.oca.keeper.lab import MIB, KeeperLab, until
from tests.oca.keeper.site import Site, site
from tests.oca.keeper.test_two_appliances import media_path, status_of

RATE_BPS = 32_000_000


async def test_a_site_fills_itself_through_a_killed_keeper_and_ends_a_circle_of_sources_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await _one_fetches_for_both_and_is_killed(made)
        await _each_has_the_other_as_source(made)


async def _one_fetches_for_both_and_is_killed(made: Site) -> None:
    """The file crosses the border once, and at most one batch of its disk again."""
    files = [made.publish(f"t/hd/{n}.mp4", 8 * MIB + n) for n in range(3)]
    unique = sum(len(file.data) for file in files)
    origin = made.origin
    assert origin is not None
    await made.tell({"a-1": ["origin"], "a-2": ["a-1", ("origin", 300.0)]}, files, rate_bps=RATE_BPS)
    await until(lambda: origin.sent_bytes > unique // 2, within_s=60.0)
    killed = status_of(made.labs["a-1"]).pid
    os.kill(killed, 9)
    await made.until_done(3)
    assert status_of(made.labs["a-1"]).pid != killed
    batch = Batch().max_blocks * BLOCK_BYTES
    under_way = 3 * 2 * 3 * BLOCK_BYTES  # orders, requests to the origin of each, blocks of a request at this rate
    assert unique <= origin.sent_bytes <= unique + batch + under_way
    async with httpx.AsyncClient(timeout=30.0) as player:
        for file in files:
            path = media_path(made.plane, file.key.partition("|")[2])
            answer = await player.get(made.media["a-2"] + path)
            assert (answer.status_code, answer.content) == (200, file.data)


async def _each_has_the_other_as_source(made: Site) -> None:
    """Each says at once that it has nothing and fetches for nobody; the source behind them is asked when it may be."""
    file = made.publish("t/hd/circle.mp4", 4 * MIB)
    origin = made.origin
    assert origin is not None
    asked, sent = len(origin.asked), origin.sent_bytes
    before = {name: _outcomes(lab) for name, lab in made.labs.items()}
    await made.tell({"a-1": ["a-2", ("origin", 300.0)], "a-2": ["a-1", ("origin", 300.0)]}, [file])
    for name, lab in made.labs.items():
        await until(lambda lab=lab, name=name: (_outcomes(lab) - before[name])["not-held"] >= 3, within_s=30.0)  # type: ignore[misc]
        assert set(_outcomes(lab) - before[name]) == {"not-held"}
    assert len(origin.asked) == asked, "nobody fetched for the other"
    await made.tell({"a-1": ["a-2", "origin"], "a-2": ["a-1", ("origin", 300.0)]}, [file])
    await made.until_done(1)
    assert origin.sent_bytes - sent == len(file.data), "one of them fetched it, the other had it from that one"


def _outcomes(lab: KeeperLab) -> Counter[str]:
    """How requests of its keeper to sources have ended, as of its last second."""
    rows = (lab.state_dir / "run" / "keeper.metrics").read_text().splitlines()
    found = [row for row in rows if row.startswith("lowtide_keeper_upstream_outcomes_total{")]
    return Counter({row.split('outcome="')[1].split('"')[0]: int(float(row.rpartition(" ")[2])) for row in found})
