"""The calendar: which day and hour it is for plans, windows and traffic. In a laboratory it is compressed (`contracts.labtime`)."""

from __future__ import annotations

from chassis.clock import Clock
from contracts.labtime import REAL_TIME, LabTime


class Calendar:
    """What asks for the hour takes this; what measures, waits for others or protects takes the `Clock` itself."""

    def __init__(self, clock: Clock, lab: LabTime = REAL_TIME) -> None:
        self._clock = clock
        self._lab = lab

    @property
    def speed(self) -> float:
        """Seconds of the calendar per second of the machine, now. Rates told per second of the calendar are this much higher here."""
        return self._lab.speed_at(self._clock.wall_s())

    def wall_s(self) -> float:
        """Seconds since the Unix epoch."""
        return self._lab.shown(self._clock.wall_s())

    async def sleep(self, seconds: float) -> None:
        """Until so much of the calendar's time has passed."""
        now_s = self._clock.wall_s()
        await self._clock.sleep(self._lab.reached(self._lab.shown(now_s) + max(0.0, seconds)) - now_s)

    def machine_s(self, calendar_s: float) -> float:
        """The instant of the machine's clock from which on the calendar shows `calendar_s` or more: for what others compare with their clocks."""
        return self._lab.reached(calendar_s)
