"""`lowtide fill-planner`: plans and their reasons from a snapshot in a JSON file; `explain` also asks a running control plane."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import yaml
from rich.console import Console
from rich.table import Table

from chassis.auth import read_secret
from chassis.client import ServiceClient
from chassis.command import settings_or_exit
from chassis.errors import ChassisError
from contracts.plans import PlacementExplanation
from contracts.urls import MEDIA_SERVICE, cache_key, parse_media_path
from fill_planner.config import PlannerSettings
from fill_planner.evaluate_cli import evaluate
from fill_planner.explaining import lines, source_words, words_of_bytes
from fill_planner.placement.instances import PlacementInstance, read_instance
from fill_planner.plan import Plan, PlanningSnapshot, make_plan
from fill_planner.simulator.cli import simulate

app = typer.Typer(help="Plan fills offline, from a snapshot in a JSON file.", no_args_is_help=True)
app.command()(simulate)
app.command()(evaluate)
NAME = "fill-planner"
SnapshotFile = Annotated[Path, typer.Argument(help="what `lowtide control-plane plan snapshot` saved")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the planner's settings")]


@app.command()
def plan(
    snapshot: SnapshotFile,
    config: Config = None,
    out: Annotated[Path | None, typer.Option(help="write the whole plan as JSON to this file")] = None,
) -> None:
    """Make the plan: what each appliance is to hold and fetch."""
    found = _plan(snapshot, config)
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    table = Table(title=f"plan {found.summary.number}")
    for heading in ("appliance", "pins", "orders", "to fetch", "rate"):
        table.add_column(heading, justify="left" if heading == "appliance" else "right")
    for its in found.appliances:
        ordered = sum(order.size_bytes for order in its.orders)
        rate = f"{its.rate_bps / 1e6:.0f} Mb/s"
        table.add_row(its.appliance_id, str(len(its.pins)), str(len(its.orders)), words_of_bytes(ordered), rate)
    Console(file=sys.stdout).print(table)
    summary = found.summary
    typer.echo(
        f"{summary.placed_files} files placed, {summary.unplaced_files} not, {words_of_bytes(summary.bytes_to_fill)} to fetch; "
        f"{summary.expected_inside_share:.1%} of tomorrow's bytes are expected from inside."
    )


@app.command()
def explain(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="a published file, /media/TITLE/TIER/FILE or its key: the control plane is asked; or a snapshot file",
        ),
    ],
    config: Config = None,
    key: Annotated[str, typer.Option(help="in a snapshot: cache key, or the end of one (title/tier/file)")] = "",
    site: Annotated[str, typer.Option(help="only this site; the control plane wants one")] = "",
    cluster: Annotated[str, typer.Option(help="its manifest cluster, where the site has several")] = "",
    url: Annotated[
        str, typer.Option(envvar="LOWTIDE_CONTROL_PLANE_URL", help="base URL of the control plane's http listener")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(envvar="LOWTIDE_OPERATOR_TOKEN_FILE", help="file with the operator token")
    ] = None,
) -> None:
    """Say why a file is where it is, or why it is nowhere, and what became of it."""
    if Path(file).is_file() or not _is_published(file):
        _explain_snapshot(Path(file), config, key, site)
    elif not site or not url or token_file is None:
        typer.echo("a published file is explained by the control plane: say --site, --url and --token-file", err=True)
        raise typer.Exit(2)
    else:
        whole = file if "|" in file else cache_key(MEDIA_SERVICE, file)
        query = {"key": whole, "site": site, **({"cluster": cluster} if cluster else {})}
        typer.echo("\n".join(lines(_asked(url, token_file, query))))


def _is_published(file: str) -> bool:
    return parse_media_path(file.partition("|")[2] or file) is not None


def _asked(url: str, token_file: Path, query: dict[str, str]) -> PlacementExplanation:
    """The control plane's explanation; what went wrong is told in words, with exit code 1."""

    async def asked() -> PlacementExplanation:
        async with ServiceClient(url, bearer=read_secret(token_file)) as client:
            return await client.get("/v1/plans/latest/explain", PlacementExplanation, query=query)

    try:
        return asyncio.run(asked())
    except ChassisError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _explain_snapshot(path: Path, config: Path | None, key: str, site: str) -> None:
    found = [e for e in _plan(path, config).explanations if e.key.endswith(key) and site in ("", e.site_id)]
    if not found:
        typer.echo(f"no file of the snapshot ends with {key!r}" + (f" at site {site!r}" if site else ""), err=True)
        raise typer.Exit(1)
    for one in found:
        typer.echo(_words(one))


def _words(one: PlacementExplanation) -> str:
    return f"{one.site_id}/{one.manifest_cluster} {one.key} [{one.reason.value}] {one.sentence}" + (
        f" Sources: {source_words(one)}." if one.sources else ""
    )


@app.command()
def bound(
    instances: Annotated[
        list[Path], typer.Argument(help="YAML files of kind placement, such as benchmarks/instances/*.yaml")
    ],
    seeds: Annotated[int, typer.Option(help="no more than so many of each file's seeds; 0: all")] = 0,
) -> None:
    """Say what the greedy placement is worth beside the bound that HiGHS finds on the same problems."""
    # HiGHS is for this command only.
    from fill_planner.bound import NotSolved, gap
    from fill_planner.placement.instances import draw

    table = Table(title="expected bytes of the peak hour, less the cost of fetching")
    for heading in ("instance", "seed", "greedy", "bound", "gap"):
        table.add_column(heading, justify="left" if heading == "instance" else "right")
    for path in instances:
        instance = _instance(path)
        for seed in instance.seeds[: seeds or None]:
            try:
                found = gap(draw(instance, seed))
            except NotSolved as error:
                typer.echo(f"{path}, seed {seed}: {error}", err=True)
                raise typer.Exit(1) from error
            words = (words_of_bytes(found.greedy.total), words_of_bytes(found.bound))
            table.add_row(path.stem, str(seed), *words, f"{found.share:.3%}")
    Console(file=sys.stdout).print(table)


def _instance(path: Path) -> PlacementInstance:
    """An instance of placement; on a bad one, words on stderr and exit code 2."""
    try:
        return read_instance(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        typer.echo(f"{path}: cannot be read: {error.strerror}", err=True)
    except (ValueError, yaml.YAMLError) as error:
        typer.echo(f"{path}: is not an instance of placement: {error}", err=True)
    raise typer.Exit(2)


def _plan(path: Path, config: Path | None) -> Plan:
    """The plan of a snapshot file; on a bad one, words on stderr and exit code 2."""
    settings = settings_or_exit(NAME, PlannerSettings, config)
    try:
        return make_plan(msgspec.json.decode(path.read_bytes(), type=PlanningSnapshot), settings)
    except OSError as error:
        typer.echo(f"{path}: cannot be read: {error.strerror}", err=True)
    except (msgspec.DecodeError, ValueError) as error:
        typer.echo(f"{path}: is not a planning snapshot: {error}", err=True)
    raise typer.Exit(2)
