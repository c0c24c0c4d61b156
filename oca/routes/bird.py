"""BIRD 2: its configuration from this box's settings, and the answers of its control socket, as text.

An answer is lines that begin with a four-digit code and `-` or a space, or with a space alone, which continues the code before (BIRD
user's guide, "Remote control"; `client/client.c` of its sources); `0000` ends it, codes from 8000 are errors. Lines that begin with `+`
are news nobody asked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contracts.routes import Route
from oca.config import Routes as RoutesSettings
from oca.routes.table import RoutesUnreadable

PROTOCOL, DETAIL, ROUTE = 1002, 1006, 1007
FIRST_ERROR = 8000
_CODE = re.compile(r"(\d{4})([ -])(.*)")
_AS_SET = re.compile(r"\{[^}]*\}")
_CONFEDERATION = re.compile(r"\([^)]*\)")
_TEMPLATE = """\
# Written by `lowtide oca routes --write-bird` from the appliance's settings. Nothing is announced to the routers, and nothing that is
# learnt reaches the kernel's routing table.
log syslog all;
router id {router_id};
protocol device {{ }}
{sessions}"""
_SESSION = """\
protocol bgp {name} {{
  local {local}{local_port} as {local_as};
  neighbor {peer}{peer_port} as {peer_as};
  {hops};
  strict bind yes;
  hold time {hold_s};
  connect delay time 1;
  connect retry time 10;
  error wait time 5, 60;
{password}  ipv4 {{ import all; export none; import limit {maximum} action block; }};
  ipv6 {{ import all; export none; import limit {maximum} action block; }};
}}
"""


@dataclass(frozen=True, slots=True)
class Line:
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """A BGP session of `show protocols all`. `counts` move whenever its table does."""

    name: str
    up: bool
    info: str
    peer: str
    peer_as: int
    counts: tuple[str, ...]


def configuration(settings: RoutesSettings) -> str:
    """The whole file. Values were checked with the settings: none can hold a quote or a line's end."""
    sessions = "".join(
        _SESSION.format(
            name=session.name,
            local=session.local,
            local_port=_port(session.local_port),
            local_as=settings.local_as,
            peer=session.peer,
            peer_port=_port(session.peer_port),
            peer_as=session.peer_as,
            hops=f"multihop {session.hops}" if session.hops > 1 else "direct",
            hold_s=settings.hold_s,
            password=f'  password "{session.password}";\n' if session.password else "",
            maximum=session.maximum,
        )
        for session in settings.sessions
    )
    return _TEMPLATE.format(router_id=settings.router_id or _router_id(settings), sessions=sessions)


def lines_of(raw: str) -> Iterator[Line]:
    """The lines of an answer without its end. Raises RoutesUnreadable for an error of BIRD's or what is no answer."""
    code = 0
    # Not splitlines: a router's words, which a session shows, may hold any separator of Unicode.
    for text in raw.removesuffix("\n").split("\n") if raw else ():
        found = _CODE.match(text)
        if found is not None:
            code, rest = int(found[1]), found[3]
        elif text.startswith(" "):
            rest = text[1:]
        elif text.startswith("+"):
            continue
        else:
            raise RoutesUnreadable(f"BIRD says what is no answer: {text[:80]!r}")
        if code >= FIRST_ERROR:
            raise RoutesUnreadable(f"BIRD refuses: {rest}")
        if code:
            yield Line(code, rest)


def is_answer(line: str) -> bool:
    """True when the line may stand in an answer."""
    return line[:1] in (" ", "+") or _CODE.match(line) is not None


def is_whole(raw: str) -> bool:
    """True when an answer has its end."""
    last = raw[:-1].rpartition("\n")[2] if raw.endswith("\n") else ""
    found = _CODE.match(last)
    return found is not None and found[2] == " "


def protocols_of(lines: Iterable[Line]) -> Iterator[Protocol]:
    """The BGP sessions of `show protocols all`."""
    head: list[str] = []
    details: list[str] = []
    for line in lines:
        if line.code == PROTOCOL:
            yield from _protocol(head, details)
            head, details = line.text.split(maxsplit=5), []
        elif line.code == DETAIL:
            details.append(line.text.strip())
    yield from _protocol(head, details)


def routes_of(lines: Iterable[Line]) -> dict[str, Route]:
    """The routes of `show route all protocol NAME`. Of two for one prefix the first, BIRD's best, is taken."""
    found: dict[str, Route] = {}
    cidr, details = "", list[str]()
    for line in lines:
        words = line.text.split()
        if not words or words[0] == "Table":
            continue
        if line.code == ROUTE and not line.text.startswith("\t"):
            _keep(found, cidr, details)
            cidr, details = (words[0] if _is_prefix(words[0]) else ""), []
        else:
            details.append(line.text.strip())
    _keep(found, cidr, details)
    return found


def _keep(found: dict[str, Route], cidr: str, details: Sequence[str]) -> None:
    if not cidr or cidr in found:
        return
    said = dict(detail.partition(":")[::2] for detail in details)
    med = said.get("BGP.med", "0").strip()
    hop = said.get("BGP.next_hop", "").split()
    path = as_path(said.get("BGP.as_path", ""))
    found[cidr] = Route(cidr, path, int(med) if med.isdigit() else 0, hop[0] if hop else "")


def as_path(text: str) -> tuple[int, ...]:
    """As contracts.routes has it: a set of autonomous systems ends it as 0; confederations are the ISP's own matter."""
    ordered, brace, _ = _CONFEDERATION.sub("", text).partition("{")
    numbers = tuple(int(word) for word in ordered.split() if word.isdigit())
    return (*numbers, 0) if brace else numbers


def _protocol(head: Sequence[str], details: Sequence[str]) -> Iterator[Protocol]:
    if len(head) < 4 or head[1] != "BGP":
        return
    said = dict(detail.partition(":")[::2] for detail in details)
    asn = said.get("Neighbor AS", "0").strip()
    counts = tuple(
        detail for detail in details if detail.startswith(("Routes:", "Import updates:", "Import withdraws:"))
    )
    info = head[5] if len(head) > 5 else ""
    last = said.get("Last error", "").strip()
    up = head[3] == "up" and info.startswith("Established")
    yield Protocol(
        head[0], up, last or info, said.get("Neighbor address", "").strip(), int(asn) if asn.isdigit() else 0, counts
    )


def _is_prefix(word: str) -> bool:
    try:
        ipaddress.ip_network(word)
    except ValueError:
        return False
    return "/" in word


def _port(port: int) -> str:
    return f" port {port}" if port else ""


def _router_id(settings: RoutesSettings) -> str:
    """The first IPv4 address that a session is held from; any number would do, as long as the routers see it once."""
    own = (session.local for session in settings.sessions)
    return next((address for address in own if ":" not in address), "192.0.2.1")
