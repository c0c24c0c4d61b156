"""`lowtide origin …`: run the service or a worker, bring titles in, look after them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from chassis import config as config_module
from chassis import logs
from chassis.auth import read_secret
from chassis.client import ServiceClient
from chassis.errors import ChassisError, ServiceError
from chassis.service import Service, run
from contracts.catalogue import Licence, TitleFacts
from contracts.ingest import JobList, TitleState, TitleStatus, TitleStatusList
from origin.config import ENV_PREFIX, OriginSettings

T = TypeVar("T")
PIECE_BYTES = 1024 * 1024
POLL_S = 0.3
UPLOAD_IDLE_S = 24 * 3600.0
app = typer.Typer(help="Origin: ingest, encode, publish, and media as the last resort.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]
ReadyFd = Annotated[int | None, typer.Option("--ready-fd", help="Descriptor that gets one JSON line once it serves.")]
Url = Annotated[str, typer.Option("--url", envvar="LOWTIDE_ORIGIN_URL", help="Base URL of the origin's http listener.")]
TokenFile = Annotated[
    Path, typer.Option("--token-file", envvar="LOWTIDE_OPERATOR_TOKEN_FILE", help="File with the operator token.")
]


@app.command("run")
def run_command(config: Config = None, ready_fd: ReadyFd = None) -> None:
    """Serve the ingest API and media. Jobs are done by `worker`."""
    from origin.app import origin_service

    settings = _settings(config, "origin")
    _serve(origin_service(settings, ready_fd=ready_fd))


@app.command("worker")
def worker_command(config: Config = None, ready_fd: ReadyFd = None) -> None:
    """Probe, encode, package, check and publish what was uploaded."""
    from origin.app import worker_service

    settings = _settings(config, "origin-worker")
    _serve(worker_service(settings, ready_fd=ready_fd))


@app.command()
def ingest(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The video file.")],
    title: Annotated[str, typer.Option("--title", help="Name of the title.")],
    url: Url,
    token_file: TokenFile,
    title_id: Annotated[str, typer.Option("--id", help="Id; made from the name when not given.")] = "",
    genre: Annotated[list[str] | None, typer.Option("--genre", help="Genre; may be given several times.")] = None,
    cast: Annotated[list[str] | None, typer.Option("--cast", help="Name of a performer; several times.")] = None,
    region: Annotated[list[str] | None, typer.Option("--region", help="Licensed region; none means all.")] = None,
    synopsis: Annotated[str, typer.Option("--synopsis", help="What it is about.")] = "",
    language: Annotated[str, typer.Option("--language", help="Language of the sound (two or three letters).")] = "und",
    year: Annotated[int, typer.Option("--year", help="Year of release.")] = 0,
    available_from: Annotated[
        str, typer.Option("--available-from", help="First shown then, as 2026-12-24T18:00+01:00 (UTC without a zone).")
    ] = "",
    licence_until: Annotated[str, typer.Option("--licence-until", help="Shown nowhere from then on.")] = "",
    franchise: Annotated[str, typer.Option("--franchise", help="What it is a part of.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the work until it is published.")] = True,
) -> None:
    """Bring in a video file and follow it until it is published."""
    facts = TitleFacts(
        id=title_id,
        name=title,
        synopsis=synopsis,
        genres=tuple(genre or ()),
        cast=tuple(cast or ()),
        language=language,
        year=year,
        licence=Licence(tuple(region or ()), _instant(available_from), _instant(licence_until)),
        available_from=_instant(available_from),
        franchise=franchise,
    )
    ended = _call(_ingest(url, token_file, file, facts, wait))
    if ended.state is TitleState.REJECTED:
        Console(stderr=True).print(f"[red]rejected[/red] {ended.facts.id}: {ended.reason}")
        raise typer.Exit(1)
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in ended.stage_seconds.items())
    Console().print(f"{ended.state.value} {ended.facts.id}" + (f" ({spent})" if spent else ""))


def _instant(text: str) -> float | None:
    """Seconds since the Epoch; None of an empty text."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an instant as 2026-12-24T18:00+01:00") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@app.command()
def titles(url: Url, token_file: TokenFile) -> None:
    """All titles with their states."""
    found = _call(_get(url, token_file, "/v1/titles", TitleStatusList))
    table = Table("title", "state", "stage", "progress", "attempts", "reason")
    for status in found.titles:
        share = f"{status.progress:.0%}"
        table.add_row(status.facts.id, status.state.value, status.stage, share, str(status.attempts), status.reason)
    Console().print(table)


@app.command()
def jobs(url: Url, token_file: TokenFile) -> None:
    """Unfinished jobs in the order in which they are taken."""
    found = _call(_get(url, token_file, "/v1/jobs", JobList))
    table = Table("title", "stage", "progress", "worker", "attempts", "reason")
    for job in found.jobs:
        table.add_row(job.title_id, job.stage, f"{job.progress:.0%}", job.worker or "–", str(job.attempts), job.reason)
    Console().print(table)


@app.command()
def retry(title_id: str, url: Url, token_file: TokenFile) -> None:
    """Work on a rejected or waiting title now."""
    found = _call(_send(url, token_file, "POST", f"/v1/titles/{title_id}/retry"))
    Console().print(f"{found.facts.id} is {found.state.value}")


@app.command()
def delete(title_id: str, url: Url, token_file: TokenFile) -> None:
    """Take a title back everywhere and remove its files."""
    found = _call(_send(url, token_file, "DELETE", f"/v1/titles/{title_id}"))
    Console().print(f"{found.facts.id} is {found.state.value}")


def _settings(path: Path | None, service: str) -> OriginSettings:
    try:
        settings = config_module.load(OriginSettings, path, env_prefix=ENV_PREFIX, environ=os.environ)
        logs.configure(service, settings.log_level)
    except (ChassisError, ValueError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from error
    return settings


def _serve(service: Service) -> None:
    raise typer.Exit(run(service))


def _call(work: Coroutine[Any, Any, T]) -> T:
    """The result; what the operator can mend is told in a line, not as a traceback."""
    try:
        return asyncio.run(work)
    except ServiceError as error:
        lines = (str(error), *(error.problem.errors if error.problem else ()))
        Console(stderr=True).print("\n".join(lines), markup=False, highlight=False)
    except (ChassisError, OSError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
    raise typer.Exit(1)


def _client(url: str, token_file: Path) -> ServiceClient:
    return ServiceClient(url, bearer=read_secret(token_file))


async def _get(url: str, token_file: Path, path: str, kind: type[T]) -> T:
    async with _client(url, token_file) as client:
        return await client.get(path, kind)


async def _send(url: str, token_file: Path, method: str, path: str) -> TitleStatus:
    async with _client(url, token_file) as client:
        found = await client.call(method, path, None, TitleStatus)
    assert found is not None, "a call that names a type gives one"
    return found


async def _ingest(url: str, token_file: Path, file: Path, facts: TitleFacts, wait: bool) -> TitleStatus:
    digest = await asyncio.to_thread(_sha256, file)
    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    async with _client(url, token_file) as client:
        made = await client.post("/v1/titles", facts, TitleStatus)
        with Progress(*bars, DownloadColumn(), TimeElapsedColumn(), transient=True) as progress:
            await _upload(client, made.facts.id, file, digest, progress)
        status = await client.get(f"/v1/titles/{made.facts.id}", TitleStatus)
        if not wait:
            return status
        with Progress(*bars, TimeElapsedColumn(), transient=True) as progress:
            return await _follow(client, status, progress)


async def _upload(client: ServiceClient, title_id: str, file: Path, digest: bytes, progress: Progress) -> None:
    size = file.stat().st_size
    bar = progress.add_task(f"{title_id}: upload", total=size)

    async def pieces() -> AsyncIterator[bytes]:
        with file.open("rb") as stream:
            while piece := await asyncio.to_thread(stream.read, PIECE_BYTES):
                yield piece
                progress.advance(bar, len(piece))

    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Repr-Digest": f"sha-256=:{b64encode(digest).decode()}:",
    }
    path = f"/v1/titles/{title_id}/source"
    async with client.open("PUT", path, data=pieces(), headers=headers, timeout_s=UPLOAD_IDLE_S) as response:
        await response.read()


async def _follow(client: ServiceClient, status: TitleStatus, progress: Progress) -> TitleStatus:
    bar = progress.add_task(f"{status.facts.id}: waiting", total=1.0)
    while status.state not in (TitleState.PUBLISHED, TitleState.REJECTED, TitleState.WITHDRAWING):
        await asyncio.sleep(POLL_S)
        status = await client.get(f"/v1/titles/{status.facts.id}", TitleStatus, retries=5)
        words = f"{status.stage}: {status.reason}" if status.reason else status.stage
        progress.update(bar, completed=status.progress, description=f"{status.facts.id}: {words}")
    return status


def _sha256(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
