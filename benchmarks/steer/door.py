"""`steer/requests-per-s`: rankings over HTTP, one steering process on one core, wrk on the other.

The requests are ready-made (`deciding.requests`): one file each, a client of an announced network, keep-alive connections. What the server
could do on a core of its own is its answers per second of its CPU: the rate that was seen says how much of the core it got, on a machine that
others use. The row is per core, therefore answers per CPU second of the server; the rate seen stands beside it.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.serve.rows import Plain, Row
from benchmarks.steer import reloads
from benchmarks.steer.deciding import requests
from benchmarks.steer.served import PREFIXES, Server, steering
from contracts.world import Ranking, RankRequest

DISTINCT = 20_000


def rows(folder: Path, *, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """The row, with the steering log (as it is by default) and without; and the one of reloads, from the same process as the former."""
    found: list[Plain] = []
    reloaded: list[Row] = []
    for with_log in (True, False):
        own = folder / ("log" if with_log else "no-log")
        own.mkdir()
        with steering(own, with_log=with_log) as server:
            found += _measured(server, own, with_log, rounds if with_log else 1, say)
            reloaded += [reloads.row(server, own, rounds, say)] if with_log else []
    with_log_rounds = [one for one in found if one.facts["steering log"] == 1]
    value = sorted(one.value for one in with_log_rounds)[len(with_log_rounds) // 2]
    unit = "answers of /v1/rank per second of CPU of one process, 1,000 appliances, 500,000 prefixes, with the steering log"
    return [Row("steer/requests-per-s", unit, value, None, None, tuple(found)), *reloaded]


def _measured(server: Server, folder: Path, with_log: bool, rounds: int, say: Callable[[str], None]) -> list[Plain]:
    asked = requests(PREFIXES, DISTINCT, 7)
    wanted = folder / "requests"
    wanted.write_bytes(b"".join(_text(one) + b"\0" for one in asked))
    _check(server.url, asked[:50])
    return server.under_load(wanted, rounds, {"steering log": float(with_log)}, say)


def _text(request: RankRequest) -> bytes:
    body = msgspec.json.encode(request)
    head = f"POST /v1/rank HTTP/1.1\r\nHost: steering\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _check(url: str, asked: list[RankRequest]) -> None:
    """Every answer names an appliance and ends with the origin: a fast answer must be one."""
    for one in asked:
        request = urllib.request.Request(
            url + "/v1/rank", msgspec.json.encode(one), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            choices = msgspec.json.decode(answer.read(), type=Ranking).groups[0].choices
        if len(choices) != 4 or not choices[0].appliance_id or choices[-1].appliance_id:
            raise RuntimeError(f"not a ranking of three appliances and the origin: {choices}")
