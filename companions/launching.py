"""One process with one or several companions: each has its own listener and application, all share metrics and health.

With one companion its listener is called `http`; with several, each listener has its companion's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import ConfigError
from chassis.service import Service
from companions.config import NAMES, Companions


def chosen(settings: Companions, names: Sequence[str]) -> tuple[str, ...]:
    """The companions to run: those named, or all that have a section. Raises ConfigError with everything that is wrong."""
    wanted = tuple(dict.fromkeys(names)) or tuple(name for name in NAMES if getattr(settings, name) is not None)
    problems = [f"{name}: is no companion; there are {', '.join(NAMES)}" for name in wanted if name not in NAMES]
    problems += [
        f"{name}: has no section in the configuration"
        for name in wanted
        if name in NAMES and getattr(settings, name) is None
    ]
    if not wanted:
        problems.append(f"nothing to run: give at least one section of {', '.join(NAMES)}")
    if problems:
        raise ConfigError(tuple(problems))
    return wanted


def companions_service(
    settings: Companions,
    names: Sequence[str],
    *,
    ready_fd: int | None = None,
    ready_file: Path | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Service:
    """The process, not started. Raises ConfigError for names that cannot be run."""
    wanted = chosen(settings, names)

    async def compose(service: Service) -> None:
        for name in wanted:
            await _compose(service, settings, name, "http" if len(wanted) == 1 else name)

    process = wanted[0] if len(wanted) == 1 else "companions"
    return Service(process, compose, ready_fd=ready_fd, ready_file=ready_file, clock=clock)


async def _compose(service: Service, settings: Companions, name: str, listener: str) -> None:
    """A companion is imported only where it runs."""
    if name == "auth" and settings.auth is not None:
        from companions.auth import app as auth

        await auth.compose(service, settings.auth, listener)
    elif name == "catalog" and settings.catalog is not None:
        from companions.catalog import app as catalog

        await catalog.compose(service, settings.catalog, listener)
    elif name == "recommendation" and settings.recommendation is not None:
        from companions.recommendation import app as recommendation

        await recommendation.compose(service, settings.recommendation, listener)
    elif name == "playback" and settings.playback is not None:
        from companions.playback import app as playback

        await playback.compose(service, settings.playback, listener)
    else:
        raise AssertionError(f"{name} was checked by chosen()")
