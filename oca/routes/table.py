"""What the BGP sessions of this box hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from contracts.routes import Route


@dataclass(frozen=True, slots=True)
class Heard:
    """One session as its daemon has it now. `routes` by prefix; of a session that is down none."""

    name: str
    up: bool
    routes: Mapping[str, Route] = field(default_factory=dict)
    peer: str = ""
    peer_as: int = 0
    detail: str = ""
    """In the daemon's words, why it is down."""
    settled: bool = True
    """False while a session that has just come up still fills its table."""


class Sessions(Protocol):
    """A daemon that holds BGP sessions."""

    async def heard(self) -> tuple[Heard, ...]:
        """All sessions of the settings. Raises RoutesUnreadable."""

    async def close(self) -> None: ...


class RoutesUnreadable(Exception):
    """The daemon cannot be asked, or says what nobody understands; the message says which."""


class SessionStatus(msgspec.Struct, frozen=True):
    """A row of `run/routes.json`."""

    name: str
    up: bool
    peer: str
    peer_as: int
    routes: int
    told: int
    """Routes that the control plane has of it."""
    detail: str = ""


class RoutesStatus(msgspec.Struct, frozen=True):
    """`run/routes.json`, by the keeper at every look: what `lowtide oca routes` shows."""

    written_at: float = 0.0
    daemon: str = ""
    problem: str = ""
    """Why the daemon cannot be read; empty where it can."""
    sessions: tuple[SessionStatus, ...] = ()
