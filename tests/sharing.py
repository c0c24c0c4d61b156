"""How processes share the tests (`pytest -n`): a file at a time, a folder whose tests share one running system as a whole, long ones first.
`make test` and `make test-system` do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from xdist.scheduler import LoadFileScheduling

SHARED = ("tests/browser/", "tests/system/")
"""Folders with a running system for as long as their tests do."""
WHOLE = (*SHARED, "tests/faults/")
"""These, and folders with something that only one can have."""
ALONE = ("tests/browser/test_players_on_the_real_system.py", "tests/browser/test_viewer_over_https.py")
"""Files of such a folder with a system of their own."""
LONG = (
    "tests/browser/test_players_on_the_real_system.py",
    *SHARED,
    "tests/browser/test_viewer_over_https.py",
    "tests/oca/appliance/",
    "tests/oca/supervisor/",
    "tests/oca/store/test_store_probe.py",
    "tests/oca/pulling/test_pulled_outages.py",
    "tests/oca/worker/test_worker_tls.py",
    "tests/oca/worker/test_worker_limits.py",
    "tests/origin/test_worker.py",
    "tests/fill_planner/test_toplists.py",
)
"""What comes first, in this order, so that nobody begins a long piece when the others are done."""


class Named(Protocol):
    @property
    def nodeid(self) -> str: ...


Item = TypeVar("Item", bound=Named)


class Pieces(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Who is free takes the next piece, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)


def piece_of(nodeid: str) -> str:
    """Tests of the same piece run in one process, one after another."""
    file = nodeid.partition("::")[0]
    if file in ALONE:
        return file
    return next((folder for folder in WHOLE if file.startswith(folder)), file)


def long_first(items: Sequence[Item]) -> list[Item]:
    """`LONG`, then the others as they came."""
    return sorted(items, key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    piece = piece_of(nodeid)
    if piece in LONG:
        return LONG.index(piece)
    return next((rank for rank, place in enumerate(LONG) if piece.startswith(place)), len(LONG))
