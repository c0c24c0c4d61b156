"""`lowtide control-plane names …`: public host names and their certificates."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from contracts.names import NameFacts, NameList
from control_plane.calling import TokenFile, Url, call, moment, show, table_of

names_app = typer.Typer(help="Public host names of appliances and their certificates.", no_args_is_help=True)


@names_app.command("list")
def list_names(url: Url, token_file: TokenFile) -> None:
    """Every name with its state, what is wrong with it, and how long its certificate is good."""
    found = call(url, token_file, lambda client: client.get("/v1/names", NameList))
    if not found.zone:
        typer.echo("no names are managed: the control plane has no zone (names.zone)")
        return
    table = table_of("name", "state", "https", "until", "trouble", "")
    for name in found.names:
        table.add_row(
            name.host or name.appliance_id,
            name.state.value,
            "yes" if name.usable else "no",
            moment(name.expires_at) if name.expires_at else "",
            name.trouble.value if name.trouble is not None else "",
            name.sentence,
        )
    show(table)
    if found.zone_problem:
        typer.echo(f"the zone {found.zone} cannot be published: {found.zone_problem}", err=True)


@names_app.command("order")
def order_now(
    appliance: Annotated[str, typer.Argument(metavar="APPLIANCE", help="Its id.")], url: Url, token_file: TokenFile
) -> None:
    """Order its certificate now: a renewal before it is due, or a failed order before its wait is over."""
    path = f"/v1/names/{quote(appliance)}/order"
    facts = call(url, token_file, lambda client: client.post(path, None, NameFacts))
    typer.echo(f"{facts.host}: {facts.sentence}")
