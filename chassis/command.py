"""What every `… run` command does: read settings, set up logs, run the service, end with the right exit code.

    def run_command(config: Path | None, ready_fd: int | None) -> None:
        raise typer.Exit(serve("steering", SteeringSettings, compose, config=config, ready_fd=ready_fd))

Exit codes: 0 stopped as told, 1 could not run or a needed part died, 2 the settings are wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chassis import config as configuration
from chassis import logs
from chassis.errors import ConfigError

if TYPE_CHECKING:
    from chassis.service import Service

T = TypeVar("T")
BAD_SETTINGS = 2


def env_prefix(name: str) -> str:
    """`control-plane` → `LOWTIDE_CONTROL_PLANE_`."""
    return f"{configuration.ENV_PREFIX}{name.upper().replace('-', '_')}_"


def settings_or_exit(
    name: str,
    cls: type[T],
    config: Path | None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] | None = None,
) -> T:
    """The checked settings of a command; on wrong ones all problems go to stderr and the process ends with code 2."""
    try:
        return configuration.load(cls, config, env_prefix=env_prefix(name), environ=environ, overrides=overrides)
    except ConfigError as error:
        sys.stderr.write(f"lowtide {name}: {error}\n")
        raise SystemExit(BAD_SETTINGS) from None


def serve(
    name: str,
    cls: type[T],
    compose: Callable[[Service, T], Awaitable[None]],
    *,
    config: Path | None,
    ready_fd: int | None = None,
    overrides: Mapping[str, object] | None = None,
    log_level: str = "info",
    grace_s: float | None = None,
) -> int:
    """Runs a service of these settings until it is told to stop; gives the exit code. `grace_s` None: the usual time.

    A setting `log_level` of the configuration, where there is one, is used instead of the argument.
    """
    from chassis.service import (
        GRACE_S,
        Service,
        run,
    )  # commands that only read settings are spared a quarter of a second

    settings = settings_or_exit(name, cls, config, overrides=overrides)
    logs.configure(name, str(getattr(settings, "log_level", log_level)))

    async def composed(service: Service) -> None:
        await compose(service, settings)

    return run(Service(name, composed, ready_fd=ready_fd, grace_s=GRACE_S if grace_s is None else grace_s))
