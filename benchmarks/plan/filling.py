"""`fill/…`: appliances carry out a plan, and what crosses which wire is counted.

`cap-excess` and `average`: a keeper behind a wire of its own fills from two sources over TLS that send as fast as they can; counted is all that its interface
receives, heartbeats, handshakes and headers included. `outside`: two whole appliances of a site and an origin, the second one's first source is the
first; counted is what the origin sends to either. `sources`: three peers with an uplink each, against one of them.

What is not covered: a distance between the ends (round trips take microseconds here), and loss.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.plan.wires import Samples, Wire, why_no_wire, wire
from benchmarks.serve.rows import Plain, Row, plain
from contracts.plans import SourceKind
from oca.config import Fetching
from tests.oca.keeper.lab import MIB, KeeperLab, keeper_lab, until
from tests.oca.keeper.site import site
from tests.oca.keeper.test_two_appliances import status_of

CAPS_BPS = (16_000_000, 80_000_000)
JUDGED_S = 10.0
LONG_S, SHORT_S = 45.0, 22.0
UPLINK_BLOCK_S = 0.05
_PATIENT = Fetching(first_byte_s=20.0, stall_s=20.0, hedge_far_s=20.0)


async def rows(folder: Path, say: Callable[[str], None], *, quick: bool = False) -> tuple[list[Row], dict[str, str]]:
    """All rows, and why which are left out; `folder` must be empty."""
    made: list[Row] = []
    left_out: dict[str, str] = {}
    why = why_no_wire()
    if why:
        left_out["fill/cap-excess"] = left_out["fill/average"] = why
    else:
        made += await _cap_rows(folder, SHORT_S if quick else LONG_S)
    made.append(await _outside_row(folder, 4 if quick else 8))
    made.append(await _source_row(folder, 1 if quick else 3))
    for row in made:
        say(f"  {row.name}: {row.ours:.3f} {row.unit}")
    return made, left_out


# -- the rate ----------------------------------------------------------------------------------------------------------


async def _cap_rows(folder: Path, seconds: float) -> list[Row]:
    excess: list[Plain] = []
    average: list[Plain] = []
    for number, cap_bps in enumerate(CAPS_BPS):
        with wire(number) as crossed:
            samples, began, ended = await _capped(folder / f"cap-{number}", crossed, cap_bps, seconds)
        facts = {"cap Mbit/s": cap_bps / 1e6, "seconds": ended - began}
        excess.append(Plain(samples.most_over(JUDGED_S) / (cap_bps / 8 * JUDGED_S), facts))
        count, lasted_s = samples.between(began, ended)
        average.append(Plain(count / (cap_bps / 8 * lasted_s), facts))
    where = "received at the interface of a network namespace, all headers included"
    worst = max(excess, key=lambda one: one.value)
    return [
        Row(
            "fill/cap-excess",
            f"largest share of the cap over any 10 s, {where}; the worst cap",
            worst.value,
            None,
            None,
            tuple(excess),
        ),
        plain("fill/average", f"average share of the cap while there is work, {where}", average),
    ]


async def _capped(folder: Path, crossed: Wire, cap_bps: int, seconds: float) -> tuple[Samples, float, float]:
    """What came in, and the span in which there was work."""
    folder.mkdir()
    count, size = 4, int(cap_bps / 8 * (seconds + 10.0) / 4)
    quota = count * (size + 2 * MIB) * 2
    async with keeper_lab(folder, crossed.host, fetching=_PATIENT, quota_bytes=quota) as lab:
        files = [lab.publish(f"t/hd/{number}.mp4", size) for number in range(count)]
        sources = [await lab.source(SourceKind.PEER, name, files, parent=False, tls=True) for name in ("p-1", "p-2")]
        orders = [lab.order(file, *((one, 0.0) for one in sources), priority=n) for n, file in enumerate(files)]
        process = await _start_behind(lab, crossed)
        samples = Samples()
        watching = asyncio.create_task(samples.follow(crossed))
        try:
            await until(lambda: status_of(lab).connected, within_s=30.0)
            await asyncio.sleep(1.0)
            lab.plan(1, *orders, rate_bps=cap_bps)
            await lab.plane.nudge()
            await until(lambda: any(one.asked for one in sources), within_s=30.0)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            ended = time.monotonic()
            if status_of(lab).orders.get("done", 0) == count:
                raise RuntimeError("the work ended before the measurement")
        finally:
            watching.cancel()
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
        return samples, began, ended


async def _start_behind(lab: KeeperLab, crossed: Wire) -> subprocess.Popen[bytes]:
    lab.prepare()
    ready, writing = os.pipe()
    try:
        process = lab.spawn_process(writing, through=crossed.inside)
        os.close(writing)
        if await asyncio.to_thread(os.read, ready, 64) != b"ready\n":
            raise RuntimeError("the keeper behind the wire did not start")
        return process
    finally:
        os.close(ready)


# -- the border --------------------------------------------------------------------------------------------------------


async def _outside_row(folder: Path, count: int) -> Row:
    """Two appliances of a site are told the same files; the first is the fill master."""
    root = folder / "outside"
    root.mkdir()
    async with site(root, quota_bytes=(count + 4) * 16 * MIB) as made:
        files = [made.publish(f"t/hd/{number}.mp4", 8 * MIB + number) for number in range(count)]
        unique = sum(len(file.data) for file in files)
        began = time.monotonic()
        told: dict[str, list[str | tuple[str, float]]] = {"a-1": ["origin"], "a-2": ["a-1", ("origin", 300.0)]}
        await made.tell(told, files, rate_bps=80_000_000)
        await made.until_done(count, within_s=300.0)
        seconds = time.monotonic() - began
        assert made.origin is not None, "a site has an origin"
        crossed, requests = made.origin.sent_bytes, len(made.origin.asked)
    facts = {"unique MiB": unique / MIB, "requests to the origin": float(requests), "seconds": seconds}
    words = "bytes of bodies that crossed the site's border / unique bytes; two appliances and an origin"
    return plain("fill/outside", words, [Plain(crossed / unique, facts)])


# -- several sources ---------------------------------------------------------------------------------------------------


async def _source_row(folder: Path, rounds: int) -> Row:
    """How much sooner a file is there from three peers of the same uplink than from one."""
    found: list[Plain] = []
    for number in range(rounds):
        alone = await _filled_from(folder / f"one-{number}", 1)
        together = await _filled_from(folder / f"three-{number}", 3)
        found.append(Plain(alone / together, {"one peer s": alone, "three peers s": together}))
    return plain(
        "fill/three-sources", "times sooner than from one of three peers, each with an uplink of 5 MiB/s", found
    )


async def _filled_from(folder: Path, count: int) -> float:
    folder.mkdir()
    async with keeper_lab(folder, fetching=_PATIENT, quota_bytes=256 * MIB) as lab:
        file = lab.publish("t/hd/v.mp4", 48 * MIB)
        peers = [
            await lab.source(SourceKind.PEER, f"p-{n}", [file], parent=False, block_s=UPLINK_BLOCK_S)
            for n in range(count)
        ]
        keeper = await lab.start(joined=False)
        await until(lambda: keeper.pulse.connected, within_s=30.0)
        began = time.monotonic()
        lab.plan(1, lab.order(file, *((peer, 0.0) for peer in peers)))
        await lab.plane.nudge()
        await until(lambda: keeper.filler.counts().get("done") == 1, within_s=60.0)
        return time.monotonic() - began
