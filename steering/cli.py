"""`lowtide steering`: run the service, and ask a running one why it ranks as it does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chassis.client import ServiceClient
from chassis.command import serve
from chassis.errors import ServiceError
from contracts.urls import MEDIA_SERVICE, cache_key, parse_media_path, split_key
from contracts.world import Covering, RankExplanation, RankFile, RankRequest
from steering import log_cli
from steering.app import compose
from steering.config import NAME, SteeringSettings

app = typer.Typer(help="Rank appliances for each playback request.", no_args_is_help=True)
app.command(name="misses")(log_cli.misses)
app.command(name="replay")(log_cli.replay_log)
app.command(name="why")(log_cli.why)
app.command(name="plays")(log_cli.plays)


@app.command()
def run(
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings")] = None,
    ready_fd: Annotated[int | None, typer.Option(help="descriptor that gets one JSON line once it serves")] = None,
) -> None:
    """Run steering until it is told to stop."""
    raise typer.Exit(serve(NAME, SteeringSettings, compose, config=config, ready_fd=ready_fd))


@app.command()
def explain(
    client: Annotated[str, typer.Argument(help="IP address of a player")],
    key: Annotated[str, typer.Argument(help="/media/TITLE/TIER/FILE, or a cache key")],
    url: Annotated[
        str, typer.Option(envvar="LOWTIDE_STEERING_URL", help="base URL of steering")
    ] = "http://127.0.0.1:8090",
    scheme: Annotated[str, typer.Option(help="http or https")] = "http",
    count: Annotated[int, typer.Option(help="most appliances in the answer")] = 3,
) -> None:
    """Say for every appliance why a player would, or would not, be sent to it for a file."""
    request = RankRequest(client, (rank_file(key),), count, scheme)
    try:
        found = asyncio.run(_ask(url, request))
    except ServiceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _print(found)


@app.command()
def routes(
    client: Annotated[str, typer.Argument(help="IP address of a player")],
    url: Annotated[
        str, typer.Option(envvar="LOWTIDE_STEERING_URL", help="base URL of steering")
    ] = "http://127.0.0.1:8090",
) -> None:
    """Say which prefixes cover an address, longest first, and which sites announce them. Exit code 1 when none does."""
    try:
        found = asyncio.run(_covering(url, client))
    except ServiceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"World {found.world_number}; {found.client}.")
    table = Table()
    for heading in ("prefix", "site", "AS path length", "MED", "known by"):
        table.add_column(heading)
    for prefix in found.prefixes:
        for one in prefix.announcers:
            by = "guess" if prefix.guessed else "record" if one.by_hand else "routes"
            table.add_row(prefix.cidr, one.site_id, str(one.as_path_length), str(one.med), by)
    Console(file=sys.stdout).print(table)
    raise typer.Exit(0 if found.prefixes else 1)


def rank_file(key: str) -> RankFile:
    """The file of a key or path with its group, TITLE/NAME without ending; what is no media path is its own group."""
    whole = key if "|" in key else cache_key(MEDIA_SERVICE, key)
    try:
        name = parse_media_path(split_key(whole)[1])
    except ValueError:
        raise typer.BadParameter(f"{key!r} is neither a path like /media/TITLE/TIER/FILE nor a cache key") from None
    return RankFile(whole, f"{name.title}/{name.file.rpartition('.')[0] or name.file}" if name else whole)


async def _ask(url: str, request: RankRequest) -> RankExplanation:
    async with ServiceClient(url) as client:
        return await client.post("/v1/explain", request, RankExplanation)


async def _covering(url: str, client: str) -> Covering:
    async with ServiceClient(url) as service:
        return await service.get("/v1/routes", Covering, query={"client": client})


def _print(found: RankExplanation) -> None:
    ranking = found.ranking
    where = (
        f"prefix {ranking.prefix} of site {ranking.site_id or '(none with appliances)'}"
        if ranking.prefix
        else "no prefix"
    )
    typer.echo(f"World {ranking.world_number}; {where}.")
    console = Console(file=sys.stdout)
    for group in ranking.groups:
        table = Table(title=group.group, title_justify="left")
        for heading in ("place", "source", "why", "address"):
            table.add_column(heading)
        for place, choice in enumerate(group.choices, start=1):
            table.add_row(str(place), choice.appliance_id or "origin", choice.why.value, choice.url)
        console.print(table)
        for facts in found.candidates.get(group.group, ()):
            typer.echo(facts.sentence)
