"""Measurements, the rows made of them, and the file they are kept in (DESIGN §8). Pure.

A row gives medians and keeps every round; ratios are medians of the rounds' own ratios, because the machine's speed drifts between rounds
and not within one. The verdict is drawn from a row by `standing`, never stored in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """One server under one stream for some seconds. CPU in microseconds per request, of its whole process tree."""

    server: str
    configuration: str
    requests: int
    seconds: float
    user_us: float
    system_us: float
    requests_per_s: float
    p50_us: int
    p99_us: int
    resident_kib: int
    log_user_us: float = 0.0
    log_system_us: float = 0.0
    """Part of the above that a separate process spent on writing the access log."""
    load_1m: float = 0.0
    core_us: float = 0.0
    """Time per request that the server's core did not idle: with what interrupts did for it (timers of paced connections, acknowledgements)."""

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


class Round(msgspec.Struct, frozen=True):
    """Ours and a peer's, one after the other; or ours alone."""

    ours: Measured
    peer: Measured | None = None


class Plain(msgspec.Struct, frozen=True):
    """A measurement that is no stream of requests; `facts` names what the value was made of."""

    value: float
    facts: dict[str, float]


class Row(msgspec.Struct, frozen=True):
    name: str
    unit: str
    ours: float
    peer: str | None
    peer_value: float | None
    rounds: tuple[Round, ...] | tuple[Plain, ...]
    peer_version: str = ""
    peer_configuration: str = ""


class Results(msgspec.Struct, frozen=True):
    """`results.json`."""

    machine: str
    date: str
    command: str
    rows: tuple[Row, ...]
    conditions: dict[str, str]
    left_out: dict[str, str]
    """Rows and peers that were not measured, and why."""


class Verdict(Enum):
    STRETCH = "stretch"
    BAR = "bar"
    MISSED = "missed"
    NO_BAR = "no bar"


SIZES = ("1k", "16k", "64k", "512k", "2560k")
_BARS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "nginx-static": ((1.9, 1.7, 1.5, 1.25, 1.35), (1.5, 1.4, 1.0, 1.0, 1.0)),
    "nginx-cache": ((1.4, 1.4, 1.4, 0.95, 0.75), (0.9,) * 5),
    "varnish": ((0.9, 0.9, 0.9, 0.75, 0.7), (0.6,) * 5),
}
TLS_SIZES = ("1k", "64k", "512k", "2560k")
_TLS_BARS = (2.0, 1.0, 0.8, 0.8)
BARS: dict[str, tuple[float, float]] = {
    "serve/user-cpu": (30, 20),
    "serve/idle-kib": (10, 6),
    "serve/idle-tls-kib": (50, 30),
    "serve/slow-readers-mib": (512, 350),
    "serve/cold-disk-p99-ms": (5, 2),
    **{
        f"serve/tls/{size}/nginx-static": (bar, 0.6 if size in ("512k", "2560k") else bar)
        for size, bar in zip(TLS_SIZES, _TLS_BARS, strict=True)
    },
    **{
        f"serve/plain/{size}/{peer}": (bars[at], stretches[at])
        for peer, (bars, stretches) in _BARS.items()
        for at, size in enumerate(SIZES)
    },
}
"""(bar, stretch) of DESIGN §8. Where the stretch is above the bar, the bar holds for both."""


def cheapest(rounds: dict[str, list[Round]]) -> str:
    """The configuration of a peer that cost least per request, by the median of its rounds."""
    return min(rounds, key=lambda configuration: _median(rounds[configuration], lambda found: _peer(found).cpu_us))


def compared(name: str, rounds: dict[str, list[Round]], version: str) -> Row:
    """The row against a peer in the cheapest of its configurations. Raises ValueError without rounds."""
    configuration = cheapest(rounds)
    chosen = rounds[configuration]
    return Row(
        name,
        "us of server CPU per request",
        _median(chosen, lambda found: found.ours.cpu_us),
        _peer(chosen[0]).server,
        _median(chosen, lambda found: _peer(found).cpu_us),
        tuple(chosen),
        version,
        configuration,
    )


def user_cpu(rounds: Sequence[Measured]) -> Row:
    value = statistics.median(found.user_us for found in rounds)
    return Row("serve/user-cpu", "us of user CPU per request of 64 KiB", value, None, None, tuple(map(Round, rounds)))


def plain(name: str, unit: str, found: Sequence[Plain]) -> Row:
    value = statistics.median(one.value for one in found)
    return Row(name, unit, value, None, None, tuple(found))


def ratios(row: Row) -> list[float]:
    """Ours / peer, round by round; empty where there is no peer."""
    return [
        found.ours.cpu_us / found.peer.cpu_us
        for found in row.rounds
        if isinstance(found, Round) and found.peer is not None
    ]


def standing(row: Row, bars: Mapping[str, tuple[float, float]] = BARS) -> tuple[float, Verdict]:
    """What is held against the bar (a ratio, or the value itself), and how it stands."""
    found = ratios(row)
    value = statistics.median(found) if found else row.ours
    if row.name not in bars:
        return value, Verdict.NO_BAR
    bar, stretch = bars[row.name]
    if value > bar:
        return value, Verdict.MISSED
    return value, Verdict.STRETCH if value <= min(bar, stretch) else Verdict.BAR


def encode(results: Results) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def decode(data: bytes) -> Results:
    """What `encode` made. Raises msgspec.MsgspecError."""
    found = msgspec.json.decode(data, type=_Written)
    rows = tuple(map(_row, found.rows))
    return Results(found.machine, found.date, found.command, rows, found.conditions, found.left_out)


class _Written(msgspec.Struct, frozen=True):
    """Results whose rounds are not told apart yet."""

    machine: str
    date: str
    command: str
    rows: tuple[dict[str, Any], ...]
    conditions: dict[str, str]
    left_out: dict[str, str]


def _row(written: dict[str, Any]) -> Row:
    rounds = written["rounds"]
    made: tuple[Round, ...] | tuple[Plain, ...]
    if rounds and "value" in rounds[0]:
        made = msgspec.convert(rounds, tuple[Plain, ...])
    else:
        made = msgspec.convert(rounds, tuple[Round, ...])
    return Row(**(written | {"rounds": made}))


def _peer(found: Round) -> Measured:
    if found.peer is None:
        raise ValueError("a round without a peer cannot be compared")
    return found.peer


def _median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    return statistics.median(value(found) for found in rounds)
