"""`steer/reloads-per-s`: how running sessions go on, over HTTP: one steering process on one core, wrk on the other.

The sessions are real: steering ranked a title of eight renditions for each and sealed the address that its player asks, with the pathway
and the throughput that a DASH player adds. As at the door (`door`), the row is answers per second of the server's CPU.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from benchmarks.serve.rows import Row
from benchmarks.steer.deciding import RENDITIONS, requests
from benchmarks.steer.served import PREFIXES, Server
from contracts.content_steering import SteeringManifest
from contracts.pathways import MOST_APPLIANCES, ORIGIN_PATHWAY
from contracts.world import RankFile, Ranking, RankRequest

NAME = "steer/reloads-per-s"
SESSIONS = 2_000
LASTS_S = 6 * 3600.0
REPORTED = {"_DASH_pathway": '"pathway-1"', "_DASH_throughput": "25000000"}


def row(server: Server, folder: Path, rounds: int, say: Callable[[str], None]) -> Row:
    """Raises RuntimeError for an answer that is no steering manifest."""
    targets = [_target(server.url, number, one) for number, one in enumerate(_plays())]
    for target in targets[:50]:
        _check(server.url + target)
    wanted = folder / "reloads"
    wanted.write_bytes(b"".join(_text(target) + b"\0" for target in targets))
    facts = {"sessions": float(len(targets)), "bytes of an address": statistics.mean(map(len, targets))}
    found = server.under_load(wanted, rounds, facts, say)
    unit = "answers of /v1/steering per second of CPU of one process, 1,000 appliances, 500,000 prefixes, 8 renditions"
    return Row(NAME, unit, statistics.median(one.value for one in found), None, None, tuple(found))


def _plays() -> list[RankRequest]:
    until = time.time() + LASTS_S
    return [
        msgspec.structs.replace(one, files=_of_one_title(one.files[0].group), play=f"s-{number:016x}", until=until)
        for number, one in enumerate(requests(PREFIXES, SESSIONS, 11))
    ]


def _of_one_title(group: str) -> tuple[RankFile, ...]:
    """The renditions of a group's title: only such a session is steered."""
    title = group.partition("/")[0]
    return tuple(
        RankFile(f"vod|/media/{title}/hd/v-{number}.mp4", f"{title}/v-{number}") for number in range(RENDITIONS)
    )


def _target(url: str, number: int, play: RankRequest) -> str:
    """Path and query that the session's player asks. Raises RuntimeError for a session that is not steered."""
    body = msgspec.json.encode(play)
    request = urllib.request.Request(f"{url}/v1/rank", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        address = msgspec.json.decode(answer.read(), type=Ranking).steering
    if not address:
        raise RuntimeError(f"session {number} is not steered")
    return f"{address}&{urlencode(REPORTED)}"


def _check(url: str) -> None:
    """A fast answer must be one: all pathways of the manifest, the origin last."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = msgspec.json.decode(answer.read(), type=SteeringManifest)
    if (
        found.priority[-1] != ORIGIN_PATHWAY
        or len(found.priority) < MOST_APPLIANCES
        or not urlsplit(found.reload_uri).query
    ):
        raise RuntimeError(f"not a steering manifest of appliances and the origin: {found}")


def _text(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: steering\r\n\r\n".encode()
