"""Rows of the policies: what is compared with what. The peer itself is not needed."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.serve.rows import Plain
from benchmarks.store.plot import HEIGHT, WIDTH, curves, draw
from benchmarks.store.plot import SHARES as SHARES_OF_PLOT
from benchmarks.store.policies import LAWS, SHARES, PeerMissing, drift_rows, policy_rows
from policies.comparison import Size, Wanted, compare
from policies.trace import ZipfLaw, collect, zipf

PEER = """#!{python}
import json, sys
print(json.dumps({{"version": "9", "found": {{word: dict.fromkeys(("lru", "sieve", "s3fifo"), (0.5, 0.5))
    for word in sys.argv[2:]}}}}))
"""


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_row_is_the_worst_distance_over_all_traces_and_sizes(tmp_path: Path) -> None:
    rows = policy_rows(_script(tmp_path / "peer", PEER.format(python=sys.executable)), requests=2000)
    assert [row.name for row in rows] == ["store/policy/lru", "store/policy/sieve", "store/policy/s3fifo"]
    for row in rows:
        assert len(row.rounds) == len(LAWS) * len(SHARES)
        assert row.ours == max(one.value for one in row.rounds if isinstance(one, Plain))
        assert (row.peer, row.peer_value, row.peer_version) == ("libcachesim", 50.0, "9")


def test_a_peer_that_fails_is_said(tmp_path: Path) -> None:
    with pytest.raises(PeerMissing, match="no luck"):
        policy_rows(_script(tmp_path / "peer", "#!/bin/sh\necho no luck >&2; exit 3\n"), requests=200)


def test_drift_has_a_round_per_size_beside_the_optimum() -> None:
    rows = drift_rows(requests=3000)
    assert [row.name for row in rows] == ["store/drift/lru", "store/drift/sieve", "store/drift/s3fifo"]
    for row in rows:
        for one in row.rounds:
            assert isinstance(one, Plain)
            assert one.facts["bound %"] <= one.facts["belady %"] <= one.value


def test_the_plot_has_a_curve_per_policy_inside_its_frame() -> None:
    trace = collect(zipf(ZipfLaw(200, smallest=1, largest=50), 1000, random.Random(1).random))
    lines = curves(compare(trace, Wanted(tuple(Size(share=share) for share in SHARES_OF_PLOT))))
    image = ElementTree.fromstring(draw(lines, "objects missed"))
    drawn = image.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(drawn) == 5
    for curve in drawn:
        points = [tuple(map(float, point.split(","))) for point in curve.attrib["points"].split()]
        assert len(points) == len(SHARES_OF_PLOT)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
