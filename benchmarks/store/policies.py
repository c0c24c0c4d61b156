"""`store/policy/…` and `store/drift/…`: our policies beside libcachesim's on the same generated traces, and beside the optimum.

libcachesim (PyPI) is wanted by nothing else, and brings dozens of packages: it gets an environment of its own, `make_peer`, and reads the traces
as files. Traces are the same in every run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.serve.rows import Plain, Row
from policies.comparison import Size, Wanted, compare
from policies.eviction import PolicyName, make_policy
from policies.replay import replay
from policies.trace import ZipfLaw, collect, zipf
from policies.traceformats import pack_oracle_general

PEER = "libcachesim"
PEER_VERSION = "0.3.5"
PEER_FOLDER = Path(__file__).parents[2] / ".venv-libcachesim"
SHARES = (0.01, 0.05, 0.1, 0.3)
LAWS = {
    "zipf 0.9": ZipfLaw(objects=10_000, alpha=0.9),
    "zipf 0.8 with drift": ZipfLaw(objects=10_000, alpha=0.8, drift_every=20),
    "zipf 0.8 with drift, 1 kB to 1 MB": ZipfLaw(objects=10_000, alpha=0.8, drift_every=50, smallest=1_000, largest=1_000_000),
    "zipf 0.7 with quick drift, 100 kB to 1 MB": ZipfLaw(
        objects=5_000, alpha=0.7, drift_every=5, smallest=100_000, largest=1_000_000
    ),
}  # fmt: skip
SEED = 5


class PeerMissing(Exception):
    """What `left_out` says of the rows."""


class _Peer(msgspec.Struct, frozen=True):
    version: str
    found: dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class _Case:
    """One trace at one size, in the peer's words `word`."""

    trace: str
    share: float
    word: str
    ours: dict[PolicyName, float]


def make_peer(folder: Path = PEER_FOLDER) -> Path:
    """The interpreter of an environment with libcachesim, made when there is none. Raises PeerMissing with pip's last words."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if subprocess.run([str(python), "-c", "import libcachesim"], capture_output=True, cwd=folder).returncode:
        command = [str(python), "-m", "pip", "install", "-q", f"{PEER}=={PEER_VERSION}"]
        installed = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if installed.returncode:
            raise PeerMissing(f"{PEER} {PEER_VERSION} cannot be installed: {installed.stderr.strip()[-300:]}")
    return python


def policy_rows(peer: Path | None = None, requests: int = 300_000) -> list[Row]:
    """`store/policy/NAME`: the worst distance in points of object miss ratio, over all traces and sizes. Raises PeerMissing."""
    python = peer if peer is not None else make_peer()
    with tempfile.TemporaryDirectory(prefix="lowtide-traces-") as folder:
        cases = list(_cases(Path(folder), requests))
        script = Path(__file__).with_name("peer_libcachesim.py")
        command = [str(python), str(script), *(case.word for case in cases)]
        said = subprocess.run(command, capture_output=True, cwd=folder)
    if said.returncode:
        raise PeerMissing(f"{PEER} failed: {said.stderr.decode()[-300:]}")
    theirs = msgspec.json.decode(said.stdout, type=_Peer)
    return [_row(policy, cases, theirs) for policy in PolicyName]


def _cases(folder: Path, requests: int) -> Iterator[_Case]:
    for number, (name, law) in enumerate(LAWS.items()):
        drawn = list(zipf(law, requests, random.Random(SEED).random))
        file = folder / f"{number}.oracleGeneral"
        file.write_bytes(pack_oracle_general(drawn))
        trace = collect(drawn)
        for share in SHARES:
            size = int(trace.footprint_bytes * share)
            ours = {policy: replay(trace, make_policy(policy, size), size)[0].objects for policy in PolicyName}
            yield _Case(name, share, f"{file}:{size}", ours)


def _row(policy: PolicyName, cases: list[_Case], theirs: _Peer) -> Row:
    rounds, worst, worst_theirs = [], -1.0, 0.0
    for case in cases:
        ours, other = 100 * case.ours[policy], 100 * theirs.found[case.word][policy.value][0]
        points = abs(ours - other)
        where = f"{case.trace}, {case.share:.0%} of all:"
        rounds.append(Plain(points, {f"{where} ours %": ours, f"{where} {PEER} %": other}))
        if points > worst:
            worst, worst_theirs = points, other
    unit = "points of object miss ratio off the same policy of libcachesim, the worst of all traces and sizes"
    return Row(f"store/policy/{policy.value}", unit, worst, PEER, worst_theirs, tuple(rounds), theirs.version)


def drift_rows(requests: int = 300_000) -> list[Row]:
    """`store/drift/NAME`: object miss ratio in percent at a tenth of all bytes, with all sizes and the optimum beside it."""
    law = LAWS["zipf 0.8 with drift, 1 kB to 1 MB"]
    trace = collect(zipf(law, requests, random.Random(SEED).random))
    found = compare(trace, Wanted(tuple(Size(share=share) for share in SHARES)))
    rows = []
    for at, policy in enumerate(PolicyName):
        rounds = []
        for share, size in zip(SHARES, found.sizes, strict=True):
            one, best = size.policies[at], size.belady
            facts = {"size % of all": 100 * share, "bytes missed %": 100 * one.byte_miss_ratio}
            if best is not None and size.bound_object_miss_ratio is not None:
                facts["belady %"] = 100 * best.object_miss_ratio
                facts["bound %"] = 100 * size.bound_object_miss_ratio
            rounds.append(Plain(100 * one.object_miss_ratio, facts))
        unit = "percent of requests missed at a tenth of all bytes, Zipf 0.8 with drift"
        rows.append(Row(f"store/drift/{policy.value}", unit, rounds[2].value, None, None, tuple(rounds)))
    return rows
