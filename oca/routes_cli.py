"""`lowtide oca routes`: how the BGP sessions of this box are, and the configuration of the daemon that holds them."""

from __future__ import annotations

import os
import shlex
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from chassis.command import settings_or_exit
from oca.config import Appliance
from oca.routes import bird, exabgp
from oca.routes.following import EXABGP_SOCKET, STATUS_FILE
from oca.routes.table import RoutesStatus

NAME = "oca"
STALE_LOOKS = 5
Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]


def routes_command(
    config: Config = None,
    write_bird: Annotated[
        Path | None,
        typer.Option("--write-bird", help="Write BIRD's configuration here and end. Then: birdc configure."),
    ] = None,
    write_exabgp: Annotated[
        Path | None, typer.Option("--write-exabgp", help="Write ExaBGP's configuration here and end.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the keeper wrote, as it is.")] = False,
) -> None:
    """Say how the BGP sessions are. Exit code 0 when all are up and read lately, 1 otherwise."""
    settings = settings_or_exit(NAME, Appliance, config)
    if write_bird is not None:
        _write(write_bird, bird.configuration(settings.routes))
    if write_exabgp is not None:
        socket = Path(settings.state_dir).absolute() / EXABGP_SOCKET
        forward = shlex.join([sys.executable, "-m", "oca.routes.forward", str(socket)])
        _write(write_exabgp, exabgp.configuration(settings.routes, forward))
    if write_bird is not None or write_exabgp is not None:
        return
    if settings.routes.daemon == "none":
        typer.echo("This appliance has no BGP sessions (routes.daemon is none).")
        return
    status = _status(settings)
    if status is None:
        typer.echo(f"The appliance of {settings.state_dir} has not looked at its sessions yet.", err=True)
        raise typer.Exit(1)
    age_s = time.time() - status.written_at
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(status), indent=2).decode())
    else:
        _print(status, age_s)
    fresh = age_s <= STALE_LOOKS * settings.routes.look_s + 5
    raise typer.Exit(0 if fresh and status.sessions and all(one.up for one in status.sessions) else 1)


def _status(settings: Appliance) -> RoutesStatus | None:
    try:
        return msgspec.json.decode((Path(settings.state_dir) / STATUS_FILE).read_bytes(), type=RoutesStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def _print(status: RoutesStatus, age_s: float) -> None:
    table = Table("session", "router", "how it is", "routes", "told")
    for one in status.sessions:
        router = f"{one.peer} AS {one.peer_as}"
        table.add_row(one.name, router, "up" if one.up else f"DOWN: {one.detail}", str(one.routes), str(one.told))
    Console(file=sys.stdout).print(table)
    typer.echo(
        f"Read by {status.daemon} {timedelta(seconds=round(age_s))} ago."
        + (f" {status.problem}" if status.problem else "")
    )


def _write(path: Path, text: str) -> None:
    """With mode 0640 from its first byte: it may hold passwords."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        before = path.stat() if path.exists() else None
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w") as file:
            file.write(text)
            if before is not None and os.geteuid() == 0:
                # The daemon reads it as a user of its own.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        temporary.replace(path)
    except OSError as error:
        typer.echo(f"{path}: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{path} written.")
