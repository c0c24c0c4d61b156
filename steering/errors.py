"""What steering refuses, and why."""

from __future__ import annotations


class SteeringError(Exception):
    """Base of what steering raises on purpose."""


class RankError(SteeringError):
    """The request cannot be ranked; the client must change it. `errors` names everything that is wrong with it."""

    def __init__(self, *errors: str) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class NothingKnown(SteeringError):
    """No origin and no reachable appliance is known: there is no answer, not even a bad one. Asking later may help."""


class ArchiveError(SteeringError):
    """The saved world cannot be read: the message says why. Steering starts without it."""
