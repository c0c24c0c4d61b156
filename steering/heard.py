"""What a player says when it asks how to go on: the pathway it is on and the throughput it saw. Pure, and believed by nobody.

HLS (RFC 8216bis §7.1): `_HLS_pathway=NAME&_HLS_throughput=BPS`. DASH (ETSI TS 103 998): `_DASH_pathway`, `_DASH_throughput`, each one value or a
list in the same order, names in quotation marks or not, throughputs left empty where there is none. The last of a list is the latest. Which of them a player
speaks is known by the prefix, and by `d=dash` in the address that DASH manifests give while it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from contracts.content_steering import DASH_DIALECT, DIALECT_FIELD

MOST_BPS = 1e12
_HLS, _DASH = _PREFIXES = ("_HLS_", "_DASH_")
_MOST_CHARS = 512
_PATHWAY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")


class Ignored(Enum):
    """Why a part of what a player says is not used (log word)."""

    PATHWAY = "no-name-of-a-pathway"
    THROUGHPUT = "no-throughput"
    LONG = "too-long"
    TWICE = "said-twice"


class Heard(NamedTuple):
    """`pathway` is empty and `throughput_bps` 0 where nothing usable was said. `is_dash` is True for a player of a DASH manifest."""

    pathway: str = ""
    throughput_bps: float = 0.0
    is_dash: bool = False
    ignored: tuple[Ignored, ...] = ()

    @property
    def takes_port(self) -> bool:
        """Whether HOST of a clone has a port where it is no standard one. dash.js forgets the base's; players of HLS keep it, and HOST is a
        host name to them (RFC 8216bis §7.1)."""
        return self.is_dash


def heard(query: Iterable[tuple[str, str]]) -> Heard:
    """The query of a request. Raises nothing: garbage is left out and said to be."""
    said: dict[str, str] = {}
    ignored: list[Ignored] = []
    prefixes: set[str] = set()
    is_dash = False
    for name, value in query:
        prefixes.update(prefix for prefix in _PREFIXES if name.startswith(prefix))
        is_dash = is_dash or (name, value) == (DIALECT_FIELD, DASH_DIALECT)
        kind = name.removeprefix(_HLS).removeprefix(_DASH)
        if kind == name or kind not in ("pathway", "throughput"):
            continue
        if len(value) > _MOST_CHARS:
            ignored.append(Ignored.LONG)
        elif kind in said:
            ignored.append(Ignored.TWICE)
        else:
            said[kind] = value
    is_dash = _DASH in prefixes or (is_dash and not prefixes)
    names = [part.strip(' "') for part in said.get("pathway", "").split(",")]
    speeds = [part.strip() for part in said.get("throughput", "").split(",")]
    pathway = names[-1]
    if pathway and _PATHWAY.fullmatch(pathway) is None:
        ignored.append(Ignored.PATHWAY)
        pathway = ""
    return Heard(pathway, _bps(speeds, ignored), is_dash, tuple(ignored))


def _bps(speeds: list[str], ignored: list[Ignored]) -> float:
    if not speeds[-1]:
        return 0.0
    if _NUMBER.fullmatch(speeds[-1]) is None or float(speeds[-1]) > MOST_BPS:
        ignored.append(Ignored.THROUGHPUT)
        return 0.0
    return float(speeds[-1])
