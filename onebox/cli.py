"""`lowtide up`: the whole system on this machine until Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from chassis.config import load
from chassis.errors import ConfigError
from chassis.logs import configure
from onebox.app import OneBox
from onebox.processes import StartFailed
from onebox.topology import Topology

app = typer.Typer(help="Run the whole system on this machine.", add_completion=False)


@app.command()
def up(
    config: Annotated[Path | None, typer.Option(help="YAML with the topology.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder that holds everything; survives a restart.")] = None,
) -> None:
    """Control plane, steering, origin, companions and three appliances at two sites, with their state in one folder."""
    overrides = {"state_dir": str(state)} if state else {}
    try:
        topology = load(Topology, config, env_prefix="LOWTIDE_UP_", environ=os.environ, overrides=overrides)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(asyncio.run(_run(topology)))


async def _run(topology: Topology) -> int:
    console = Console()
    configure("up", topology.log_level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each question to the control plane helps nobody
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    box = OneBox(topology)
    life = asyncio.create_task(_live(box, console))
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
        life.cancel()
        await asyncio.wait({life})
        if not life.cancelled():
            life.result()
    except StartFailed as error:
        console.print("could not start:", style="red", end=" ")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    finally:
        told.cancel()
        await box.stop()
    return 0


async def _live(box: OneBox, console: Console) -> None:
    """From the start on, until cancelled. Raises StartFailed."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)
        await box.start(lambda what, share: progress.update(task, description=what, completed=share))
    addresses = f"viewer page    {box.viewer_url}\noperator page  {box.operator_url}"
    console.print(f"{addresses}\nCtrl-C stops everything.", soft_wrap=True)
    await asyncio.Event().wait()
