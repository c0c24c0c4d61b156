"""How processes share the tests (`pytest -n`): a file at a time, a folder whose tests share one running system as a whole, long ones first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from xdist.scheduler import LoadFileScheduling

WHOLE = ("tests/system/",)
"""Folders with something expensive that runs as long as their tests do."""


class Marked(Protocol):
    """What is asked of a collected test."""

    @property
    def nodeid(self) -> str: ...

    def get_closest_marker(self, name: str) -> object: ...


Item = TypeVar("Item", bound=Marked)


class Pieces(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Who is free takes the next piece, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)


def piece_of(nodeid: str) -> str:
    """Tests of the same piece run in one process, one after another."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in WHOLE if file.startswith(folder)), file)


def long_first(items: Sequence[Item]) -> list[Item]:
    """Pieces with a test marked `slow` come first, so that nobody begins a long one when the others are done. Keeps the order else."""
    long = {piece_of(item.nodeid) for item in items if item.get_closest_marker("slow") is not None}
    return sorted(items, key=lambda item: piece_of(item.nodeid) not in long)
