"""`lowtide companions run [NAME…]`: auth, catalog, recommendation, playback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from chassis import config as config_module
from chassis import logs
from chassis.errors import ChassisError
from chassis.service import run
from companions.config import ENV_PREFIX, Companions
from companions.launching import chosen, companions_service

app = typer.Typer(help="The services around it: auth, catalog, recommendation, playback.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """The services around it: auth, catalog, recommendation, playback."""


@app.command("run")
def run_command(
    names: Annotated[list[str] | None, typer.Argument(help="Which to run; all that have a section otherwise.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")] = None,
    ready_fd: Annotated[
        int | None, typer.Option("--ready-fd", help="Descriptor that gets one JSON line once it serves.")
    ] = None,
) -> None:
    """Serve one or several companions in this process."""
    try:
        settings = config_module.load(Companions, config, env_prefix=ENV_PREFIX, environ=os.environ)
        wanted = chosen(settings, names or ())
        logs.configure(wanted[0] if len(wanted) == 1 else "companions", settings.log_level)
        service = companions_service(settings, wanted, ready_fd=ready_fd)
    except ChassisError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from error
    raise typer.Exit(run(service))
