"""What scripted sessions tell of themselves, as it crosses from their process, and what is told to that process. Pure.

Instants are the machine's monotonic clock, the same in all processes.
"""

from __future__ import annotations

import msgspec

ENOUGH_BUFFER_S = 20.0
READY, FULL = "ready", "full"
"""Lines of a process of viewers: all have signed up; all play with ENOUGH_BUFFER_S ahead."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One request for a range. `ended` is a player.fetching.Ended value."""

    at_s: float
    took_s: float
    host: str
    got_bytes: int
    ended: str


class Said(msgspec.Struct, frozen=True, array_like=True):
    """One question to content steering. `hosts` is where it wants each track fetched from; `heard` a player.steering.Heard value."""

    at_s: float
    took_s: float
    heard: str
    hosts: tuple[str, ...]


class Level(msgspec.Struct, frozen=True, array_like=True):
    """The buffer at an instant, in media seconds, and how often it had run dry by then."""

    at_s: float
    buffer_s: float
    stalls: int


class Session(msgspec.Struct, frozen=True):
    """One play. `failure` is empty when it came to its end, `startup_s` 0 when nothing was ever shown."""

    number: int
    pressed_at_s: float
    ended_at_s: float
    startup_s: float
    watched_s: float
    stalls: int
    stalled_s: float
    failure: str
    checked_bytes: int
    asks: tuple[Ask, ...]
    said: tuple[Said, ...]
    levels: tuple[Level, ...]


class Task(msgspec.Struct, frozen=True):
    """What one process plays: session `number` of `numbers` presses play `number * every_s` after the beginning and watches for `watch_s`."""

    auth: str
    catalog: str
    recommendation: str
    playback: str
    titles: tuple[str, ...]
    addresses: tuple[str, ...]
    """Where its viewers sit: each four sessions share one member and one address."""
    region: str
    numbers: tuple[int, ...]
    every_s: float
    watch_s: float
    buffer_s: float
