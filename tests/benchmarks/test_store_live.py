"""A live appliance misses what the simulator says: the short form of `store/live`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.store.live import play, scaled_trace
from policies.admission import AdmissionName
from policies.eviction import PolicyName
from policies.trace import ZipfLaw
from tests.oca.appliance.world import MIB

LAW = ZipfLaw(objects=350, alpha=0.8, drift_every=10, smallest=4_000, largest=24_000)
REQUESTS = 500


def test_the_trace_turns_the_disk_over_many_times() -> None:
    drawn, trace = scaled_trace(REQUESTS, LAW)
    assert len(drawn) == len(trace) == REQUESTS
    assert trace.footprint_bytes > 3 * MIB
    assert trace.requested_bytes > 6 * MIB


@pytest.mark.parametrize(
    ("policy", "admission"),
    [
        (PolicyName.LRU, AdmissionName.ALL),
        (PolicyName.S3FIFO, AdmissionName.ALL),
        (PolicyName.LRU, AdmissionName.SECOND_REQUEST),
    ],
)
async def test_a_live_appliance_misses_what_the_simulator_says(
    tmp_path: Path, policy: PolicyName, admission: AdmissionName
) -> None:
    found = await play(tmp_path, policy, 2 * MIB, REQUESTS, LAW, admission)
    assert found.points_off <= 4.0, found
    assert 20 < found.simulated < 90, "neither all hits nor all misses"
