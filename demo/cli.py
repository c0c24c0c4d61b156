"""`lowtide demo`: the story on this machine, then the system stays up until Ctrl-C."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from chassis.logs import configure
from demo.filling import NotFilled
from demo.footage import FootageMissing
from demo.publishing import NotPublished
from demo.stages import Stages
from demo.story import play_out, show, topology
from demo.table import print_checks
from onebox.app import OneBox
from onebox.claims import Claim
from onebox.processes import StartFailed
from player.membership import Refused

INTERRUPTED = 130
app = typer.Typer(help="Play the whole story with real processes on this machine.", add_completion=False)


@app.command()
def demo(
    check: Annotated[bool, typer.Option("--check", help="Assert the story and leave: exit 0 or 1.")] = False,
    state: Annotated[Path, typer.Option(help="Folder for state and footage.")] = Path(".demo"),
) -> None:
    """Real footage, a plan, fills, viewers, a dead appliance, and a table."""
    raise typer.Exit(asyncio.run(_run(state, check)))


async def _run(folder: Path, check: bool) -> int:
    console = Console()
    state = folder / "state"
    try:
        claim = Claim(folder)
        if state.exists():
            shutil.rmtree(state)
        state.mkdir(parents=True)
    except (StartFailed, OSError) as error:
        console.print(f"the demo cannot begin: {error}", markup=False, highlight=False)
        return 1
    with (state / "demo.log").open("w") as log_file:
        configure("demo", "info", log_file)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        box = OneBox(topology(state))
        story = asyncio.create_task(_tell(box, folder / "cache", console, check, stop))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if story.done():
                return story.result()
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)
            return INTERRUPTED
        finally:
            stopped.cancel()
            console.print("stopping …")
            await box.stop()
            claim.release()


async def _tell(box: OneBox, cache: Path, console: Console, check: bool, stop: asyncio.Event) -> int:
    try:
        with Stages(console) as stages:
            with stages.stage("services start") as stage:
                await box.start(stage.report)
            story, checks = await play_out(box, cache, stages)
    except (FootageMissing, NotFilled, NotPublished, Refused, StartFailed) as error:
        console.print("the demo could not go on:", style="red", end=" ")
        console.print(str(error), markup=False, highlight=False)
        return 1
    show(console, stages.times, story)
    print_checks(console, checks)
    if check:
        return 0 if all(one.holds for one in checks) else 1
    addresses = f"\nviewer page    {box.viewer_url}\noperator page  {box.operator_url}"
    console.print(f"{addresses}\nCtrl-C stops everything.", soft_wrap=True)
    await stop.wait()
    return 0
