"""The BGP sessions with the ISP's routers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from oca.config.addresses import address_version


@dataclass(frozen=True, slots=True)
class BgpSession:
    """A BGP session with one router of the ISP: what it announces says whom this box serves."""

    name: Annotated[str, Doc("Name in reports and logs: lower case, digits, underscores, at most 32, first a letter")]
    peer: Annotated[str, Doc("IP address of the router")]
    peer_as: Annotated[int, Ge(1), Le(4_294_967_295), Doc("Number of the router's autonomous system")]
    local: Annotated[str, Doc("IP address of this box that the session is held from")]
    hops: Annotated[int, Ge(1), Le(255), Doc("Hops to the router; 1 is a neighbour on the same link")] = 1
    password: Annotated[str, Doc("TCP MD5 password (RFC 2385); empty for none. Letters, digits, - . _")] = ""
    maximum: Annotated[
        int, Ge(1), Doc("Most prefixes per address family that BIRD takes of the router; further ones are not learnt")
    ] = 50_000
    peer_port: Annotated[int, Ge(0), Le(65535), Doc("TCP port of the router; 0 is BGP's own, 179")] = 0
    local_port: Annotated[int, Ge(0), Le(65535), Doc("TCP port that the daemon listens on; 0 is BGP's own, 179")] = 0

    def __post_init__(self) -> None:
        """What goes into a daemon's configuration can hold nothing that ends a word there."""
        if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name) is None:
            raise ValueError(f"name: {self.name!r} is none: lower case letters, digits, underscores, first a letter")
        families = {which: address_version(value) for which, value in (("peer", self.peer), ("local", self.local))}
        for which, version in families.items():
            if not version:
                raise ValueError(f"{which}: {getattr(self, which)!r} is no IP address")
        if len(set(families.values())) > 1:
            raise ValueError(f"peer, local: {self.peer} and {self.local} are of different address families")
        if re.fullmatch(r"[A-Za-z0-9._-]{0,80}", self.password) is None:
            raise ValueError("password: only letters, digits, - . and _, at most 80")


@dataclass(frozen=True, slots=True)
class Routes:
    """What the ISP's routers announce to this box (docs/routes.md)."""

    daemon: Annotated[
        Literal["none", "bird", "exabgp"], Doc("Who holds the BGP sessions; none where this box has none")
    ] = "none"
    local_as: Annotated[int, Ge(0), Le(4_294_967_295), Doc("Number of this box's autonomous system")] = 0
    router_id: Annotated[str, Doc("IPv4 address by which the routers know this box; empty takes a session's own")] = ""
    sessions: Annotated[tuple[BgpSession, ...], Doc("The routers that announce to this box")] = ()
    bird_socket: Annotated[str, Doc("BIRD's control socket")] = "/run/bird/bird.ctl"
    hold_s: Annotated[int, Ge(3), Le(65535), Doc("BGP hold time, in seconds")] = 90
    look_s: Annotated[float, Gt(0), Doc("Seconds between two looks at what the sessions hear")] = 2.0

    def __post_init__(self) -> None:
        names = [session.name for session in self.sessions]
        if len(set(names)) < len(names):
            raise ValueError("sessions: a name is given twice")
        if self.daemon == "exabgp" and len({session.peer for session in self.sessions}) < len(names):
            raise ValueError("sessions: with exabgp every session has a router of its own")
        if self.daemon != "none" and (not self.sessions or not self.local_as):
            raise ValueError("local_as, sessions: both are needed where there is a daemon")
        if self.router_id and address_version(self.router_id) != 4:
            raise ValueError(f"router_id: {self.router_id!r} is no IPv4 address")
