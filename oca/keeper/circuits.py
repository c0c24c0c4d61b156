"""Which parents are asked at all: a circuit breaker per parent. Pure.

Laws
- A circuit opens after so many failures in a row, or when a share of the last requests failed. While it is open its parent is asked nothing:
  who waits hears of it at once instead of after a time-out, and a parent that struggles is left in peace.
- After a while one request is let through (half open). Its success closes the circuit, its failure opens it for twice as long, up to a limit.
  A probe that never says how it ended counts for nothing after `PROBE_S`.
- How long it stays open is drawn between half and all of that time, so that appliances do not come back together.
- An answer that is no fault of the parent's (it does not hold the file) is no failure.

Theory: Nygard, *Release It!*, "Circuit Breaker".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

PROBE_S = 15.0


class CircuitState(Enum):
    """Log word and label of a metric."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens, and for how long."""

    failures: int = 5
    """In a row."""
    window: int = 20
    """Of so many last requests …"""
    share: float = 0.5
    """… this share failed."""
    first_s: float = 1.0
    longest_s: float = 30.0


class Circuit:
    """Of one parent."""

    __slots__ = ("_last", "_length_s", "_probe_until", "_row", "_rules", "_until")

    def __init__(self, rules: CircuitRules) -> None:
        self._rules = rules
        self._row = 0
        self._last: deque[bool] = deque(maxlen=rules.window)
        self._until: float | None = None
        self._length_s = 0.0
        self._probe_until = 0.0

    def state(self, now: float) -> CircuitState:
        if self._until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self._until else CircuitState.HALF_OPEN

    def admit(self, now: float) -> bool:
        """Whether the parent may be asked; in a half-open circuit the one who hears yes is the probe."""
        match self.state(now):
            case CircuitState.CLOSED:
                return True
            case CircuitState.OPEN:
                return False
            case CircuitState.HALF_OPEN:
                if now < self._probe_until:
                    return False
                self._probe_until = now + PROBE_S
                return True

    def spare(self) -> None:
        """Who was admitted has not asked after all, or was given up by its own side: the next one may be the probe."""
        self._probe_until = 0.0

    def note(self, *, failed: bool, now: float, draw: float) -> None:
        """How a request ended; `draw` is a random number of [0, 1)."""
        self._probe_until = 0.0
        if not failed:
            self._row = 0
            self._last.append(False)
            if self._until is not None:
                self._until = None
                self._length_s = 0.0
                self._last.clear()
            return
        self._row += 1
        self._last.append(True)
        match self.state(now):
            case CircuitState.CLOSED:
                if self._row >= self._rules.failures or self._is_mostly_failing():
                    self._open(self._rules.first_s, now, draw)
            case CircuitState.HALF_OPEN:
                self._open(min(self._rules.longest_s, 2 * self._length_s), now, draw)
            case CircuitState.OPEN:
                """One that was under way when it opened."""

    def _is_mostly_failing(self) -> bool:
        return len(self._last) == self._rules.window and sum(self._last) >= self._rules.share * self._rules.window

    def _open(self, length_s: float, now: float, draw: float) -> None:
        self._length_s = length_s
        self._until = now + length_s * (0.5 + 0.5 * draw)


class Circuits:
    """Those of all parents, by URL. `draw` gives random numbers of [0, 1)."""

    def __init__(self, draw: Callable[[], float], rules: CircuitRules | None = None) -> None:
        self._draw = draw
        self._rules = rules or CircuitRules()
        self._known: dict[str, Circuit] = {}

    def admit(self, url: str, now: float) -> bool:
        known = self._known.get(url)
        return known is None or known.admit(now)

    def spare(self, url: str) -> None:
        known = self._known.get(url)
        if known is not None:
            known.spare()

    def note(self, url: str, *, failed: bool, now: float) -> CircuitState | None:
        """How a request to a parent ended; its state when that changed it."""
        known = self._known.get(url)
        if known is None:
            if not failed:
                return None
            known = self._known[url] = Circuit(self._rules)
        before = known.state(now)
        known.note(failed=failed, now=now, draw=self._draw())
        after = known.state(now)
        return after if after is not before else None

    def state(self, url: str, now: float) -> CircuitState:
        known = self._known.get(url)
        return CircuitState.CLOSED if known is None else known.state(now)

    def open_urls(self, now: float) -> list[str]:
        """Of parents that are not asked now."""
        return sorted(url for url, circuit in self._known.items() if circuit.state(now) is CircuitState.OPEN)
