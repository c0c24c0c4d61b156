"""`lowtide ROOM …`: hands the rest of the command line to the room's own typer application.

A room is imported only when its word is used, so that an appliance with the `oca` extra alone works; a missing dependency
is one line that names the extra to install.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lowtide.rooms import ROOMS, SETTINGS, Room, SettingsOf

_OURS = frozenset(
    (
        "chassis", "companions", "contracts", "control_plane", "demo", "fill_planner", "lowtide", "oca", "onebox", "origin",
        "player", "policies", "steering",
    )
)  # fmt: skip
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}

app = typer.Typer(
    name="lowtide",
    help="A video-on-demand CDN that anybody can run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Settings: what there is, and whether a file is right.", no_args_is_help=True)
app.add_typer(config_app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _whole(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is and leave.")
    ] = False,
) -> None:
    """A video-on-demand CDN that anybody can run."""


def main() -> None:
    """The entry point of the installed command."""
    app()


def run_room(room: Room, arguments: list[str]) -> NoReturn:
    """Runs a room's application with its part of the command line; ends the process with its exit code."""
    try:
        module = importlib.import_module(room.module)
        module.app(args=arguments, prog_name=f"lowtide {room.command}")
    except ModuleNotFoundError as error:
        _explain_missing(room, error)
    raise SystemExit(0)


def _explain_missing(room: Room, error: ModuleNotFoundError) -> NoReturn:
    missing = (error.name or "").partition(".")[0]
    if missing in _OURS or not missing:
        raise error
    sys.stderr.write(
        f"lowtide {room.command}: {missing} is not installed; install the parts of this room: pip install 'lowtide[{room.extra}]'\n"
    )
    raise SystemExit(1)


def _command_of(room: Room) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        run_room(room, list(context.args))

    run.__doc__ = room.summary
    return run


for _room in ROOMS:
    app.command(_room.command, context_settings=_PASS_ON, add_help_option=False)(_command_of(_room))


@app.command("version")
def version() -> None:
    """Says which version this is."""
    from importlib.metadata import version as installed

    typer.echo(f"lowtide {installed('lowtide')}")


@config_app.command("docs")
def config_docs(
    names: Annotated[list[str] | None, typer.Argument(help="Which settings; all when none is named.")] = None,
) -> None:
    """Writes every setting as Markdown: name, type, default, what is allowed, what it is."""
    chosen = [_settings(name) for name in names] if names else list(SETTINGS)
    typer.echo(settings_markdown(chosen), nl=False)


@config_app.command("check")
def config_check(
    name: Annotated[str, typer.Argument(help="Whose settings: oca, origin, playback, …")],
    file: Annotated[Path, typer.Argument(help="The YAML file.")],
) -> None:
    """Says everything that is wrong with a settings file, at once; exit code 2 when something is."""
    import os

    from chassis.command import settings_or_exit

    settings = _settings(name)
    settings_or_exit(settings.name, _class_of(settings), file, environ=os.environ)
    typer.echo(f"{file}: right")


def settings_markdown(chosen: list[SettingsOf]) -> str:
    """The page of settings, one section per configuration file."""
    from chassis.command import env_prefix
    from chassis.config import describe, render_markdown

    parts = [
        "# Settings\n\nMade by `make docs` from the code. Each file is YAML; a dot is one level of nesting. The environment\n"
        "wins over the file: the prefix below, then the name in capitals with `__` for each dot.\n"
    ]
    for settings in chosen:
        title = f"{settings.name} (`{env_prefix(settings.name)}…`)"
        parts.append(render_markdown(title, describe(_class_of(settings))))
    return "\n".join(parts)


def _settings(name: str) -> SettingsOf:
    found = next((settings for settings in SETTINGS if settings.name == name), None)
    if found is None:
        known = ", ".join(settings.name for settings in SETTINGS)
        raise typer.BadParameter(f"{name!r} has no settings; these have: {known}")
    return found


def _class_of(settings: SettingsOf) -> type[object]:
    found = getattr(importlib.import_module(settings.module), settings.cls)
    assert isinstance(found, type), f"{settings.cls} of {settings.module} is not a class"
    return found
