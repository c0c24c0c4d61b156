"""How a running session goes on: a pure function of what it was given, the scene of now and what its player says (DESIGN §5)."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.content_steering import PathwayClone
from contracts.pathways import pathway_names
from steering.sessions import Session


@dataclass(frozen=True, slots=True)
class Course:
    """Where a session goes on. `session` is what is sealed into the next address."""

    priority: tuple[str, ...]
    clones: tuple[PathwayClone, ...]
    ttl_s: int
    session: Session


def go_on(session: Session, ttl_s: int) -> Course:
    """As the manifest says."""
    return Course(pathway_names(session.pathways), (), ttl_s, session)
