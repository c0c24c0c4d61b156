"""When a process that died is started again: at once, then with a growing pause while it keeps dying. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 10.0
"""Having run this long, a process starts with a clean slate."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often in a row a process died young."""

    young_deaths: int = 0

    def after_death(self, ran_s: float) -> tuple[Restarts, float]:
        """(the new state, pause in seconds before the next start)."""
        if ran_s >= STEADY_S:
            return Restarts(0), 0.0
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self.young_deaths)
        return Restarts(self.young_deaths + 1), pause
