"""ExaBGP 5: its configuration from this box's settings, and its JSON events, as text.

Events that are read: `state` (a session is up, down or connected) and `update` (announce, withdraw, end of table). Others are passed over.
Version 4 writes AS paths as a list, 5 as numbered segments: both are understood. What is not JSON or not of this shape raises
RoutesUnreadable: what was learnt before it stands, and the session has to be learnt anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from contracts.routes import Route
from oca.config import BgpSession
from oca.config import Routes as RoutesSettings
from oca.routes.table import Heard, RoutesUnreadable

FAMILIES = frozenset({"ipv4 unicast", "ipv6 unicast"})
_AFIS = frozenset(family.split()[0] for family in FAMILIES)
LONGEST_LINE = 16 * 1024 * 1024
_HEAD = """\
# Written by `lowtide oca routes --write-exabgp` from the appliance's settings. Nothing is announced to the routers.
process keeper {{
  run {forward};
  encoder json;
}}
"""
_SESSION = """\
neighbor {peer} {{
  description "{name}";
  router-id {router_id};
  local-address {local};
  local-as {local_as};
  peer-as {peer_as};
  hold-time {hold_s};
{ports}{password}  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{ processes [ keeper ]; neighbor-changes; receive {{ parsed; update; }} }}
}}
"""


class _Addresses(msgspec.Struct, frozen=True):
    peer: str


class _Systems(msgspec.Struct, frozen=True):
    peer: int | str = 0


class _Nlri(msgspec.Struct, frozen=True):
    nlri: str


class _Segment(msgspec.Struct, frozen=True):
    element: str
    value: tuple[int | str, ...] = ()


class _Attributes(msgspec.Struct, frozen=True, rename="kebab"):
    as_path: dict[str, _Segment] | list[int | list[int]] = {}
    med: int = 0


class _Update(msgspec.Struct, frozen=True):
    attribute: _Attributes = _Attributes()
    announce: dict[str, dict[str, list[_Nlri]]] = {}
    withdraw: dict[str, list[_Nlri]] = {}


class _Message(msgspec.Struct, frozen=True):
    update: _Update | None = None
    eor: dict[str, str] | None = None


class _Neighbor(msgspec.Struct, frozen=True):
    address: _Addresses
    asn: _Systems = _Systems()
    state: str = ""
    reason: str = ""
    direction: str = "receive"
    message: _Message = _Message()


class _Event(msgspec.Struct, frozen=True):
    type: str
    neighbor: _Neighbor | None = None


_decode = msgspec.json.Decoder(_Event).decode


@dataclass(slots=True)
class _Session:
    name: str
    peer: str
    peer_as: int
    up: bool = False
    detail: str = "ExaBGP has said nothing of it yet"
    ended: set[str] = field(default_factory=set)
    """Address families whose first table is whole (RFC 4724 §2). A router that speaks only one never ends the other: its table is told late, once."""
    routes: dict[str, Route] = field(default_factory=dict)


class Events:
    """The sessions of the settings, as the events so far tell them."""

    def __init__(self, sessions: Iterable[BgpSession]) -> None:
        self._by_peer = {one.peer: _Session(one.name, one.peer, one.peer_as) for one in sessions}

    def take(self, line: bytes) -> None:
        """Raises RoutesUnreadable. Events of a neighbour that is not of the settings change nothing."""
        try:
            event = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RoutesUnreadable(f"ExaBGP says what nobody understands: {error}") from error
        session = self._by_peer.get(event.neighbor.address.peer) if event.neighbor is not None else None
        if event.neighbor is None or session is None or event.neighbor.direction != "receive":
            return
        if event.type == "state":
            _turn(session, event.neighbor)
        elif event.type == "update":
            _update(session, event.neighbor.message)

    def lost(self, why: str) -> None:
        """ExaBGP is gone, with all it knew."""
        for session in self._by_peer.values():
            _forget(session, why)

    def heard(self) -> tuple[Heard, ...]:
        """A session is settled when both address families have ended their first table."""
        return tuple(
            Heard(one.name, one.up, dict(one.routes), one.peer, one.peer_as, one.detail, one.ended >= _AFIS)
            for one in self._by_peer.values()
        )


def configuration(settings: RoutesSettings, forward: str) -> str:
    """The whole file. `forward` is the command line of the helper that passes events on."""
    sessions = "".join(
        _SESSION.format(
            name=session.name,
            peer=session.peer,
            router_id=settings.router_id or "192.0.2.1",
            local=session.local,
            local_as=settings.local_as,
            peer_as=session.peer_as,
            hold_s=settings.hold_s,
            ports=_ports(session),
            password=f'  md5-password "{session.password}";\n' if session.password else "",
        )
        for session in settings.sessions
    )
    return _HEAD.format(forward=forward) + sessions


def _ports(session: BgpSession) -> str:
    listen = f"  listen {session.local_port};\n" if session.local_port else ""
    return listen + (f"  connect {session.peer_port};\n" if session.peer_port else "")


def _turn(session: _Session, neighbor: _Neighbor) -> None:
    if neighbor.state == "up":
        _forget(session, "")
        session.up = True
    elif neighbor.state == "down":
        _forget(session, neighbor.reason or "the session is down")


def _forget(session: _Session, why: str) -> None:
    session.up, session.detail = False, why
    session.ended.clear()
    session.routes.clear()


def _update(session: _Session, message: _Message) -> None:
    if message.eor is not None:
        session.ended.add(message.eor.get("afi", ""))
    update = message.update
    if update is None:
        return
    for family, gone in update.withdraw.items():
        if family in FAMILIES:
            for one in gone:
                session.routes.pop(one.nlri, None)
    path = _path(update.attribute.as_path)
    for family, by_hop in update.announce.items():
        if family in FAMILIES:
            for hop, announced in by_hop.items():
                for one in announced:
                    session.routes[one.nlri] = Route(one.nlri, path, update.attribute.med, hop)


def _path(said: Mapping[str, _Segment] | list[int | list[int]]) -> tuple[int, ...]:
    """As contracts.routes has it: a set ends the path as 0, confederations are passed over."""
    found: list[int] = []
    if isinstance(said, list):
        for one in said:
            if isinstance(one, list):
                return (*found, 0)
            found.append(one)
        return tuple(found)
    for _, segment in sorted(said.items(), key=lambda item: int(item[0]) if item[0].isdigit() else 0):
        if segment.element == "as-set":
            return (*found, 0)
        if segment.element == "as-sequence":
            found += [int(asn) for asn in segment.value]
    return tuple(found)
