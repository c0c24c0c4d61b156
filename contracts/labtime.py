"""Compressed time: a laboratory in which days pass in minutes. Pure; every instant is in seconds since the Unix epoch.

Laws
- Only the calendar is compressed: hours of traffic, fill windows, the time at which a plan is made. Whatever protects or waits (TLS, tokens,
  keys, heartbeats, deadlines, triggers) has the time of the machine.
- Lab time begins in the past and ends where it meets the present: from then on it is the time of the machine. So no record made in a
  laboratory lies in the future, and a setting that was forgotten undoes itself.
- All processes of a laboratory have the same three numbers, hence the same calendar, also after a restart.
- A laboratory does not leave the machine: whoever listens on more than loopback is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc


@dataclass(frozen=True, slots=True)
class LabTime:
    """A calendar that stands at `starts_at` until `began_at`, then runs `speed` times as fast as the machine's clock."""

    speed: Annotated[
        float, Ge(1), Le(100_000), Doc("Seconds of the calendar per second of the machine; 1 is the machine's own time")
    ] = 1.0
    began_at: Annotated[float, Ge(0), Doc("Instant of the machine's clock from which the calendar runs")] = 0.0
    starts_at: Annotated[float, Ge(0), Doc("Instant the calendar shows then, before began_at")] = 0.0

    def __post_init__(self) -> None:
        if self.is_lab and self.starts_at >= self.began_at:
            raise ValueError(
                "lab.starts_at: has to lie before lab.began_at: lab time begins in the past and ends where it meets the present"
            )

    @property
    def is_lab(self) -> bool:
        return self.speed > 1.0

    @property
    def meets_at(self) -> float:
        """The instant at which calendar and machine show the same. Only for a laboratory."""
        return (self.began_at * self.speed - self.starts_at) / (self.speed - 1.0)

    def shown(self, machine_s: float) -> float:
        """What the calendar shows when the machine's clock shows `machine_s`."""
        if not self.is_lab or machine_s >= self.meets_at:
            return machine_s
        return self.starts_at + max(0.0, machine_s - self.began_at) * self.speed

    def reached(self, calendar_s: float) -> float:
        """The machine's time from which on the calendar shows `calendar_s` or more; the inverse of `shown`."""
        if not self.is_lab or calendar_s >= self.meets_at:
            return calendar_s
        return self.began_at + max(0.0, calendar_s - self.starts_at) / self.speed

    def speed_at(self, machine_s: float) -> float:
        """`speed` until the present is met, 1 from then on."""
        return self.speed if self.is_lab and machine_s < self.meets_at else 1.0

    def refuse_to_leave(self, hosts: Mapping[str, str]) -> None:
        """Raises ValueError for a laboratory with a listener (setting → host) that others than this machine reach."""
        if not self.is_lab:
            return
        open_to_others = [f"{name}: {host}" for name, host in hosts.items() if not _is_loopback(host)]
        if open_to_others:
            raise ValueError(
                f"lab.speed: compressed time is for one machine's loopback only, not for {', '.join(open_to_others)}"
            )


REAL_TIME = LabTime()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
