"""When a file of the access log is complete, what it is called then, and which files go. Pure.

Names: `access.jsonl` is being written; `access-20251121T093436.123Z.jsonl` is complete, named by the instant its last line came;
the same with `.parquet` is its columnar form. Names sort by age.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

CURRENT = "access.jsonl"
LINES = ".jsonl"
COLUMNS = ".parquet"
_COMPLETE = re.compile(r"(access-[0-9]{8}T[0-9]{6}\.[0-9]{3}Z)(\.jsonl|\.parquet)")


class Rotated(Enum):
    """Why a file was complete (log word)."""

    SIZE = "size"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Limits:
    """`files` counts complete files, a pair of both forms as one."""

    file_bytes: int
    file_s: float
    files: int


def due(limits: Limits, size: int, age_s: float) -> Rotated | None:
    """Whether the current file is complete. An empty one never is."""
    if size <= 0:
        return None
    if size >= limits.file_bytes:
        return Rotated.SIZE
    return Rotated.AGE if age_s >= limits.file_s else None


def surplus(limits: Limits, names: Iterable[str]) -> list[str]:
    """The names of files to remove: the oldest beyond `files`. What is no file of ours is never named."""
    ours: dict[str, list[str]] = {}
    for name in names:
        if match := _COMPLETE.fullmatch(name):
            ours.setdefault(match[1], []).append(name)
    old = sorted(ours)[: max(0, len(ours) - limits.files)]
    return [name for stem in old for name in sorted(ours[stem])]


def unconverted(names: Collection[str]) -> list[str]:
    """Complete files that have no columnar form yet, oldest first."""
    found = []
    for name in names:
        match = _COMPLETE.fullmatch(name)
        if match is not None and match[2] == LINES and match[1] + COLUMNS not in names:
            found.append(name)
    return sorted(found)


def columnar_name(name: str) -> str:
    """Of the same file in columnar form."""
    return name.removesuffix(LINES) + COLUMNS
