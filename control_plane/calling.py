"""How the verbs of the command call the control plane and show what it answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from chassis.auth import read_secret
from chassis.client import ServiceClient
from chassis.errors import ChassisError, ServiceError

T = TypeVar("T")
PLAN_TIMEOUT_S = 1800.0
CALL_TIMEOUT_S = 30.0
PIPE_WIDTH = 250
"""Columns where nobody looks: a pipe or a file gets whole words."""

Url = Annotated[
    str,
    typer.Option("--url", envvar="LOWTIDE_CONTROL_PLANE_URL", help="Base URL of the control plane's http listener."),
]
TokenFile = Annotated[
    Path, typer.Option("--token-file", envvar="LOWTIDE_OPERATOR_TOKEN_FILE", help="File with the operator token.")
]


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def instant(text: str) -> float | None:
    """Seconds since the Epoch of an ISO 8601 instant (UTC where it names no zone); None of an empty text. Raises BadParameter."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an instant as 2026-12-24T18:00+01:00") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def table_of(*columns: str) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(shown: Table) -> None:
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(shown)


def from_file(path: Path, kind: type[T]) -> T:
    """A document of an operator. Whatever is wrong, and every word that nobody knows, is told; exit code 2."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        made = msgspec.convert(written, kind)
    except (OSError, yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        typer.echo(f"{path}: {error}", err=True)
        raise typer.Exit(2) from error
    if strange := list(_strange(written, msgspec.to_builtins(made))):
        typer.echo("\n".join(f"{path}: {name}: nothing is known by this name" for name in strange), err=True)
        raise typer.Exit(2)
    return made


def _strange(written: object, known: object, where: str = "") -> Iterator[str]:
    """Names in a document that its meaning does not have: a slip of the pen must not leave a default in force."""
    if isinstance(written, Mapping) and isinstance(known, Mapping):
        for name, value in written.items():
            if name in known:
                yield from _strange(value, known[name], f"{where}{name}.")
            else:
                yield f"{where}{name}"
    elif isinstance(written, list) and isinstance(known, list | tuple):
        for number, (value, meant) in enumerate(zip(written, known, strict=False)):
            yield from _strange(value, meant, f"{where.rstrip('.')}[{number}].")


def call(
    url: str,
    token_file: Path,
    ask: Callable[[ServiceClient], Awaitable[T]],
    timeout_s: float = CALL_TIMEOUT_S,
) -> T:
    """The answer; what went wrong is told in lines, not as a traceback."""

    async def asked() -> T:
        async with ServiceClient(url, bearer=read_secret(token_file), timeout_s=timeout_s) as client:
            return await ask(client)

    try:
        return asyncio.run(asked())
    except ServiceError as error:
        said = str(error)
        more = error.problem.errors if error.problem else ()
        typer.echo("\n".join((said, *(line for line in more if line not in said))), err=True)
    except ChassisError as error:
        typer.echo(str(error), err=True)
    raise typer.Exit(1)
