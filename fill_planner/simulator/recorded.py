"""Demand that was recorded: traces in the formats of `policies.traceformats`, or an appliance's access log. Reads files.

A trace says when, what, and how large; every request is one view. The access log has ranges: bytes sent of a file in an hour, divided by its size, are views
(DESIGN §4.1), carried over from hour to hour until they make a whole one. A file's size is the furthest byte that anybody was sent of it. A file is known to the planner
from its first request on: neither source tells when something was published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fill_planner.simulator.catalogue import NO_FRANCHISE, RELEASED_LONG_AGO, Announced
from fill_planner.simulator.demand import Requests
from fill_planner.simulator.planning import AHEAD_HOURS
from fill_planner.simulator.run import Given
from fill_planner.simulator.scenario import DAY_HOURS, Recorded, Source
from fill_planner.simulator.shape import Floats, Ints
from policies.traceformats import ORACLE_GENERAL, TraceError, read_csv, read_oracle_general

_CHUNK = ORACLE_GENERAL.size << 15
_ALMOST = 1e-9
"""Parts of a view that add up to a whole one fall short of it in floating point."""
_COLUMNS = (
    "{time: 'TIMESTAMP', path: 'VARCHAR', bytes: 'BIGINT', cache: 'VARCHAR', peer: 'BOOLEAN', \"first\": 'BIGINT'}"
)
"""Named, because lines leave out what is nought: guessed from the first lines of a file a column may be missing."""
_LOG = """
SELECT CAST(floor(epoch(CAST(time AS TIMESTAMP)) / 3600) AS BIGINT) AS hour, path, sum(bytes) AS sent, max(coalesce("first", 0) + bytes) AS size
FROM (SELECT NULL::BOOLEAN AS peer, NULL::BIGINT AS "first" WHERE false UNION ALL BY NAME SELECT * FROM {reader}) WHERE cache <> 'none' AND bytes > 0 AND NOT coalesce(peer, false) GROUP BY ALL ORDER BY hour, path
"""


def load(recorded: Recorded) -> Given:
    """The whole recording. Raises ValueError in words when it cannot be read, or has less than two days."""
    path = Path(recorded.path)
    try:
        if recorded.source is Source.ACCESS_LOG:
            return from_log_rows(_log_rows(path))
        with path.open("rb") as file:
            chunks = iter(lambda: file.read(_CHUNK), b"")
            if recorded.source is Source.CSV:
                return from_requests(read_csv(_lines(chunks)))
            return from_requests(read_oracle_general(chunks))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except TraceError as error:
        raise ValueError(f"{path}: {error}") from None


def from_requests(requests: Iterable[tuple[int, object, int]]) -> Given:
    """Demand of (second, key, size): the first size of a key counts. Raises ValueError for less than two days."""
    numbers: dict[object, int] = {}
    sizes: list[int] = []
    seconds: list[int] = []
    asked: list[int] = []
    for second, key, size in requests:
        number = numbers.setdefault(key, len(sizes))
        if number == len(sizes):
            sizes.append(max(1, size))
        seconds.append(second)
        asked.append(number)
    files, when = np.array(asked, dtype=np.int64), np.array(seconds, dtype=np.int64)
    order = np.argsort(when, kind="stable")
    files, when = files[order], when[order]
    # Hour 0 is a midnight (UTC), so that windows open when they say.
    first = int(when[0]) // 3600 if len(when) else 0
    hours = when // 3600 - first // DAY_HOURS * DAY_HOURS
    return _given(hours, files, np.array(sizes, dtype=np.float64))


def from_log_rows(rows: Iterable[tuple[int, str, int, int]]) -> Given:
    """Demand of (hour, path, bytes sent, furthest byte), in the order of hours. Raises ValueError for less than two days."""
    numbers: dict[str, int] = {}
    sizes: list[float] = []
    found: list[tuple[int, int, float]] = []
    for hour, path, sent, size in rows:
        number = numbers.setdefault(path, len(sizes))
        if number == len(sizes):
            sizes.append(1.0)
        sizes[number] = max(sizes[number], float(size))
        found.append((hour, number, float(sent)))
    due = np.zeros(len(sizes))
    first = found[0][0] // DAY_HOURS * DAY_HOURS if found else 0
    moments: list[tuple[int, float, int]] = []
    for hour, number, amount in found:
        due[number] += amount / sizes[number]
        views = int(due[number] + _ALMOST)
        due[number] -= views
        moments += [(hour - first, (at + 0.5) / views, number) for at in range(views)]
    moments.sort()
    hours = np.array([moment[0] for moment in moments], dtype=np.int64)
    return _given(hours, np.array([moment[2] for moment in moments], dtype=np.int64), np.array(sizes))


def _given(hours: Ints, files: Requests, sizes: Floats) -> Given:
    """`hours` rise from 0."""
    count = int(hours[-1]) + 1 if len(hours) else 0
    if count < 2 * DAY_HOURS:
        raise ValueError(f"{count} hours of demand are too few: a plan needs a day of reports and a day to serve")
    edges = np.searchsorted(hours, np.arange(count + 1))
    first_seen = np.full(len(sizes), float(count))
    np.minimum.at(first_seen, files, hours.astype(np.float64))
    known_from = np.where(first_seen < DAY_HOURS, RELEASED_LONG_AGO, first_seen + AHEAD_HOURS)
    nothing = np.zeros(len(sizes), dtype=np.int64)
    announced = Announced(
        release_hour=known_from,
        genre=nothing,
        language=nothing,
        kind=nothing,
        franchise=np.full(len(sizes), NO_FRANCHISE, dtype=np.int64),
        title_of_file=np.arange(len(sizes)),
        rendition_of_file=nothing,
        size_bytes=sizes,
    )
    return Given(announced, tuple(files[edges[hour] : edges[hour + 1]] for hour in range(count)))


def _log_rows(path: Path) -> list[tuple[int, str, int, int]]:
    import duckdb  # a second of import that traces do not need

    lines = f"read_json($path, format = 'newline_delimited', columns = {_COLUMNS})"
    reader = "read_parquet($path)" if path.suffix == ".parquet" else lines
    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            found = connection.execute(_LOG.format(reader=reader), {"path": str(path)}).fetchall()
    except duckdb.Error as error:
        raise ValueError(f"{path}: is no access log: {' '.join(str(error).split())}") from None
    return [(int(hour), str(name), int(sent), int(size)) for hour, name, sent, size in found]


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
