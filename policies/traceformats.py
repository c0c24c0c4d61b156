"""Reading traces: bytes in, requests out, one error type. Pure; who opens the file, and takes off its compression, is elsewhere.

`read_csv`: a line per request, fields separated by one character, with or without a line of names. `read_oracle_general`: the binary records
of libCacheSim, 24 bytes little endian without padding: time u32, object u64, size u32, and the index of the object's next request i64 (not used here:
what comes next is worked out from the requests themselves). Both read as a stream and hold one record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policies.trace import Request

ORACLE_GENERAL = struct.Struct("<IQIq")
_NO_NEXT = -1


class TraceError(ValueError):
    """What is wrong with a trace, and where."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a line has what, counted from 1. `time` and `size` may be 0: none there (then all times are 0, all sizes 1)."""

    time: int = 1
    key: int = 2
    size: int = 3
    separator: str = ","

    def __post_init__(self) -> None:
        if self.key < 1 or self.time < 0 or self.size < 0:
            raise ValueError("columns are counted from 1; the key has to be in one, time and size may be 0 for none")
        if len(self.separator) != 1:
            raise ValueError(f"the separator has to be one character, not {self.separator!r}")

    @property
    def most(self) -> int:
        return max(self.time, self.key, self.size)


def read_csv(lines: Iterable[str], columns: Columns | None = None) -> Iterator[Request]:
    """Requests in the order of the lines. A first line whose time or size is no number is a line of names; empty lines are passed over.

    Fields are not quoted. Raises TraceError with the number of the line.
    """
    columns = columns or Columns()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        fields = text.split(columns.separator)
        if len(fields) < columns.most:
            raise TraceError(f"line {number}: {len(fields)} fields, but column {columns.most} is needed: {text[:80]!r}")
        try:
            yield _request(fields, columns)
        except (ValueError, OverflowError) as error:
            if number == 1 and _is_names(fields, columns):
                continue
            raise TraceError(f"line {number}: {error}: {text[:80]!r}") from None


def _request(fields: list[str], columns: Columns) -> Request:
    size = int(fields[columns.size - 1]) if columns.size else 1
    if not 0 <= size < 1 << 63:
        raise ValueError("a size below zero" if size < 0 else "a size beyond all disks")
    time = int(float(fields[columns.time - 1])) if columns.time else 0
    return time, fields[columns.key - 1], size


def _is_names(fields: list[str], columns: Columns) -> bool:
    """No number where numbers belong: a line of names."""
    return any(
        not fields[column - 1].strip().lstrip("-").replace(".", "", 1).isdigit()
        for column in (columns.time, columns.size)
        if column
    )


def read_oracle_general(chunks: Iterable[bytes]) -> Iterator[Request]:
    """Requests of a stream of bytes, cut anywhere. Raises TraceError when it ends inside a record."""
    rest = b""
    records = 0
    step = ORACLE_GENERAL.size
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        whole = len(data) - len(data) % step
        for time, key, size, _ in ORACLE_GENERAL.iter_unpack(memoryview(data)[:whole]):
            yield time, key, size
        records += whole // step
        rest = data[whole:]
    if rest:
        raise TraceError(f"record {records + 1} is cut off: {len(rest)} of {step} bytes at byte {records * step}")


def pack_oracle_general(requests: Iterable[tuple[int, int, int]]) -> bytes:
    """The same format, whole, with the index of each object's next request (-1: none)."""
    known = list(requests)
    following: dict[int, int] = {}
    nexts = [_NO_NEXT] * len(known)
    for at in range(len(known) - 1, -1, -1):
        key = known[at][1]
        nexts[at] = following.get(key, _NO_NEXT)
        following[key] = at
    return b"".join(
        ORACLE_GENERAL.pack(time, key, size, after) for (time, key, size), after in zip(known, nexts, strict=True)
    )
