"""`store/live`: one trace through a live appliance, beside the simulator.

A supervisor, two workers, a keeper and an origin on loopback; extents are files of some kilobytes, so that a disk of a few mebibytes holds hundreds and turns over
many times within thousands of requests. Requests come one after the other, over connections to both workers. A miss is a request
during which the origin was asked. The simulator gets the space that files take on the disk and what eviction ahead leaves of the quota.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serve.rows import Plain, Row
from oca.config import Admission, Appliance, Fetching, Serving
from oca.link.settings import store_settings
from oca.store.disks import reserve_bytes
from oca.store.trailer import allocated_bytes
from policies.admission import AdmissionName, AdmissionRule
from policies.comparison import simulated_policy
from policies.eviction import PolicyName
from policies.replay import replay
from policies.trace import Trace, ZipfLaw, collect, zipf
from tests.oca.appliance.crowd import End, Reader
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

CONNECTIONS = 12
"""Enough that both workers have some."""
BATCH_BLOCKS = 4
"""As 64 blocks are a small part of a disk, so are these of a scaled-down one: what is not durable yet cannot be evicted."""
LAW = ZipfLaw(objects=2500, alpha=0.8, drift_every=8, smallest=4_000, largest=100_000)
SEED = 11
QUOTAS_MIB = (8, 16, 32)
"""Of about 90 MiB. What a miss evicts is free when the workers let go of it: the smaller the disk, the fewer misses per second."""


@dataclass(frozen=True, slots=True)
class Found:
    """Misses in percent of requests, of one policy at one size."""

    policy: str
    quota_bytes: int
    live: float
    simulated: float

    @property
    def points_off(self) -> float:
        return abs(self.live - self.simulated)


@dataclass
class ScaledWorld(World):
    """Small batches, so that what cannot be evicted yet is a small part of a small disk."""

    admission: AdmissionName = AdmissionName.ALL

    @property
    def settings(self) -> Appliance:
        plain = super().settings
        admission = Admission(rule=self.admission.value)
        return replace(plain, store=replace(plain.store, batch_blocks=BATCH_BLOCKS, admission=admission))


def scaled_trace(requests: int, law: ZipfLaw = LAW, seed: int = SEED) -> tuple[list[tuple[int, int]], Trace]:
    """(object, file size) per request, and the same for the simulator, with what each file takes on the disk."""
    drawn = list(zipf(law, requests, random.Random(seed).random))
    trace = collect((time, key, allocated_bytes(size)) for time, key, size in drawn)
    return [(key, size) for _, key, size in drawn], trace


def capacity_bytes(settings: Appliance) -> int:
    """What lasting extents take behind an eviction ahead, which is what a simulated cache is full with."""
    store = store_settings(settings)
    quota = store.disks[0].quota_bytes
    return quota - reserve_bytes(quota, store)[1]


async def play(
    folder: Path,
    policy: PolicyName,
    quota_bytes: int,
    requests: int,
    law: ZipfLaw = LAW,
    admission: AdmissionName = AdmissionName.ALL,
) -> Found:
    """One run. Raises RuntimeError for an answer that is not complete and right."""
    drawn, trace = scaled_trace(requests, law)
    patient = Serving(first_byte_s=30.0, stall_s=30.0)
    slow = Fetching(first_byte_s=20.0, stall_s=20.0)
    async with appliance_world(
        folder,
        make=ScaledWorld,
        admission=admission,
        quota_bytes=quota_bytes,
        extent_bytes=256 * 1024,
        policy=policy.value,
        serving=patient,
        fetching=slow,
    ) as world:
        files = {key: world.publish(f"{key}.mp4", size) for key, size in set(drawn)}
        await world.start()
        missed = await _ask_all(world, [files[key] for key, _ in drawn])
        capacity = capacity_bytes(world.settings)
    simulated, _ = replay(trace, simulated_policy(policy, AdmissionRule(admission), capacity), capacity)
    return Found(policy.value, quota_bytes, 100 * missed / requests, 100 * simulated.objects)


async def _ask_all(world: World, files: Sequence[MadeFile]) -> int:
    """How many of the requests, one after the other, made the origin be asked."""
    readers: list[Reader] = [world.reader() for _ in range(CONNECTIONS)]
    missed = 0
    for at, file in enumerate(files):
        before = len(world.origin.asked)
        got = await readers[at % CONNECTIONS].ask(world.wanted(file, 0, len(file.data) - 1))
        if got.end is not End.COMPLETE:
            raise RuntimeError(f"request {at} for {file}: {got}")
        missed += len(world.origin.asked) > before
    for reader in readers:
        reader.close()
    return missed


def live_rows(quick: bool = False, on_found: Callable[[Found], None] | None = None) -> list[Row]:
    """`store/live/POLICY`: the largest distance of three sizes, in points of object miss ratio; `quick` plays less, and LRU only."""
    policies = (PolicyName.LRU,) if quick else tuple(PolicyName)
    return [_row(policy, 1200 if quick else 4000, on_found) for policy in policies]


def _row(policy: PolicyName, requests: int, on_found: Callable[[Found], None] | None) -> Row:
    found = []
    for mebibytes in QUOTAS_MIB:
        with tempfile.TemporaryDirectory(prefix="lowtide-live-") as folder:
            one = asyncio.run(play(Path(folder), policy, mebibytes * MIB, requests))
        if on_found is not None:
            on_found(one)
        found.append(one)
    rounds = tuple(
        Plain(one.points_off, {"quota MiB": one.quota_bytes / MIB, "live %": one.live, "simulated %": one.simulated})
        for one in found
    )
    worst = max(one.points_off for one in found)
    unit = "points of object miss ratio off the simulator, the worst of three sizes"
    return Row(f"store/live/{policy.value}", unit, worst, None, None, rounds)
