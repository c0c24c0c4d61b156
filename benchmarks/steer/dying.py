"""`steer/dead-box-s`: a whole appliance is killed; when does the last answer name it?

The whole system of `lowtide up` on loopback (control plane, steering, origin, companions, three appliances). Rankings for a client of the site with
two appliances are asked for every ASK_S; the one that is first is killed with SIGKILL, its supervisor and all it started, and not started
again. The value is the time from the signal to the end of the last answer that names it; answers are looked at for QUIET_S longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.serve.rows import Plain, Row, plain
from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.world import RankFile, Ranking, RankRequest
from onebox.app import OneBox
from onebox.topology import Topology

ASK_S = 0.02
QUIET_S = 8.0
RETURN_S = 90.0
CLIENT = "127.1.0.1"
NAMES = ("a1", "a2")
DISK_BYTES = 256 << 20


def rows(folder: Path, *, rounds: int, say: Callable[[str], None]) -> list[Row]:
    return asyncio.run(_rows(folder, rounds, say))


async def _rows(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Row]:
    usual = Topology(state_dir=str(folder / "box"), base_port=0)
    appliances = tuple(replace(spec, disk_bytes=DISK_BYTES, workers=1) for spec in usual.appliances)
    box = OneBox(replace(usual, appliances=appliances))
    found = []
    await box.start(lambda _name, _share: None)
    try:
        async with ServiceClient(box.url("steering"), timeout_s=5.0) as steering:
            for _ in range(rounds):
                one = await _one_death(box, steering)
                say(f"  {one.value:.2f} s, {one.facts['answers in between']:.0f} answers")
                found.append(one)
    finally:
        await box.stop()
    return [plain("steer/dead-box-s", "s from the signal to the end of the last answer that names the box", found)]


async def _one_death(box: OneBox, steering: ServiceClient) -> Plain:
    named = await _until_all(steering)
    victim = named[0]
    killed_s = time.monotonic()
    box.pull_the_plug(victim)
    last_s, asked = killed_s, 0
    while time.monotonic() < max(last_s, killed_s) + QUIET_S:
        answer = await _named(steering)
        asked += 1
        if victim in answer:
            last_s = time.monotonic()
        await asyncio.sleep(ASK_S)
    box.revive(victim)
    return Plain(last_s - killed_s, {"answers in between": float(asked)})


async def _until_all(steering: ServiceClient) -> list[str]:
    """The ranking once it names both appliances. Raises RuntimeError when they do not come (back) in time."""
    until = time.monotonic() + RETURN_S
    while time.monotonic() < until:
        try:
            found = await _named(steering)
        except ServiceError:
            found = []
        if set(NAMES) <= set(found):
            return found
        await asyncio.sleep(0.2)
    raise RuntimeError(f"{', '.join(NAMES)} are not all in the answers after {RETURN_S:g} s")


async def _named(steering: ServiceClient) -> list[str]:
    files = (RankFile("vod|/media/nothing/sd/v.mp4", "nothing/v"),)
    answer = await steering.post("/v1/rank", RankRequest(CLIENT, files), Ranking)
    return [choice.appliance_id for choice in answer.groups[0].choices]
