"""`lowtide oca disk …`: the disks of a running appliance come, drain and leave without a restart (docs/disks.md)."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from chassis.command import settings_or_exit
from oca.config import Appliance
from oca.link import unix
from oca.link.commands import DISK, DiskAnswer, DiskDo, DiskOrder, socket_path
from oca.link.files import DiskStatus, KeeperStatus

NAME = "oca"
SEEN_WITHIN_S = 20.0
LOOK_S = 0.2
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

app = typer.Typer(help="The disks of a running appliance.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]
Target = Annotated[str, typer.Argument(help="The disk's folder, or its number (`list` shows both).")]


@app.command("list")
def list_command(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the keeper wrote, as it is.")] = False,
) -> None:
    """Say how every disk is. Exit code 1 when one of them is out, or the appliance has not run yet."""
    settings = settings_or_exit(NAME, Appliance, config)
    status = _status(settings)
    if status is None:
        typer.echo(f"The appliance of {settings.state_dir} has not run yet.", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(status.disks), indent=2).decode())
    else:
        _print(status.disks)
    raise typer.Exit(1 if any(disk.state == "out" for disk in status.disks) else 0)


@app.command("add")
def add_command(
    path: Annotated[str, typer.Argument(help="The folder, the whole path. It is made a disk where it is none yet.")],
    config: Config = None,
    quota: Annotated[
        str, typer.Option(help="Space that extents may take: 900G, 4T, bytes. Not needed for a disk that is known.")
    ] = "",
    weight: Annotated[float, typer.Option(min=0.001, help="Share of extents relative to the other disks.")] = 1.0,
    storage_class: Annotated[
        Literal["hot", "cold"], typer.Option("--class", help="hot for flash, cold for large disks.")
    ] = "cold",
) -> None:
    """Take a disk in: a new one, one that was taken out and is sound again, or one that drains and is to stay."""
    size = parse_bytes(quota) if quota else 0
    if size is None:
        typer.echo(f"--quota: {quota} is no size; say 900G, 4T or a number of bytes", err=True)
        raise typer.Exit(2)
    settings = settings_or_exit(NAME, Appliance, config)
    answer = _ask(settings, DiskOrder(DiskDo.ADD, path, size, weight, storage_class))
    if answer.done:
        _show_joining(settings, answer.number)


@app.command("drain")
def drain_command(target: Target, config: Config = None) -> None:
    """Put nothing new on a disk, and move what it has to the others, in the background. `list` shows how much is left."""
    _ask(settings_or_exit(NAME, Appliance, config), DiskOrder(DiskDo.DRAIN, target))


@app.command("remove")
def remove_command(
    target: Target,
    config: Config = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even when it still has files: they become misses and are fetched again.")
    ] = False,
) -> None:
    """Let go of a disk that was drained, or that is out. What lies on it is left as it is."""
    _ask(settings_or_exit(NAME, Appliance, config), DiskOrder(DiskDo.REMOVE, target, by_force=force))


def parse_bytes(text: str) -> int | None:
    """`900G`, `4TiB`, `1048576`: powers of 1024, as disks' tools say them. None when it is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found else None


def disk_words(disk: DiskStatus) -> str:
    """How a disk is, in words."""
    if disk.state == "out":
        return f"OUT: {disk.reason or 'not opened yet'}"
    left = f", {_size(disk.left_bytes)} left to move" if disk.state == "draining" else ""
    return f"{disk.state}{left}{', READ-ONLY' if disk.read_only else ''}"


def _ask(settings: Appliance, order: DiskOrder) -> DiskAnswer:
    """Prints what came of it; exits with 1 when nothing was done."""
    try:
        sock = unix.connect(socket_path(Path(settings.state_dir)))
    except OSError as error:
        typer.echo(f"No appliance of {settings.state_dir} runs here: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    with sock, sock.makefile("rb") as lines:
        sock.sendall(DISK + msgspec.json.encode(order) + b"\n")
        line = lines.readline()
    try:
        answer = msgspec.json.decode(line, type=DiskAnswer)
    except msgspec.MsgspecError:
        answer = DiskAnswer(False, "the appliance ended, or does not know this command")
    typer.echo(answer.sentence, err=not answer.done)
    if not answer.done:
        raise typer.Exit(1)
    return answer


def _show_joining(settings: Appliance, number: int) -> None:
    """Wait until the keeper has it, or says why not; exits with 1 then."""
    until = time.monotonic() + SEEN_WITHIN_S
    last = ""
    while time.monotonic() < until:
        status = _status(settings)
        found = next((disk for disk in status.disks if disk.number == number), None) if status is not None else None
        last = disk_words(found) if found is not None else "not seen by the keeper yet"
        if found is not None and found.state == "takes part":
            typer.echo(f"disk {number} takes part")
            return
        time.sleep(LOOK_S)
    typer.echo(f"disk {number}: {last}", err=True)
    raise typer.Exit(1)


def _status(settings: Appliance) -> KeeperStatus | None:
    try:
        return msgspec.json.decode((Path(settings.state_dir) / "run" / "keeper.json").read_bytes(), type=KeeperStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def _print(disks: Sequence[DiskStatus]) -> None:
    table = Table("number", "folder", "class", "used", "quota", "how it is")
    for disk in disks:
        used, quota = _size(disk.used_bytes), _size(disk.quota_bytes)
        table.add_row(str(disk.number), disk.path, disk.storage_class, used, quota, disk_words(disk))
    Console(file=sys.stdout).print(table)


def _size(count: int) -> str:
    for unit in ("T", "G", "M", "K"):
        if count >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.1f} {unit}iB"
    return f"{count} B"
