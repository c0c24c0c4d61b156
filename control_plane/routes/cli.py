"""`lowtide control-plane routes …`: which prefix comes from where, what is wrong with it, and what may be announced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from contracts.routes import (
    InconsistencyList,
    LonelyList,
    QuarantineList,
    RouteImport,
    RouteList,
    RoutePolicy,
    RouteSource,
    RouteSourceError,
    SourceFacts,
    SourceKind,
    SourceList,
)
from control_plane.calling import TokenFile, Url, call, show, table_of

IMPORT_TIMEOUT_S = 120.0
routes_app = typer.Typer(help="Routes of sites: BGP sessions, imports, policies.", no_args_is_help=True)
Site = Annotated[str, typer.Option("--site", help="Only this site.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most rows.")]
SiteId = Annotated[str, typer.Argument(metavar="SITE", help="Its id.")]


@routes_app.command("sources")
def sources(url: Url, token_file: TokenFile, site: Site = "") -> None:
    """BGP sessions and imports, and how they are."""
    found = call(url, token_file, lambda client: client.get("/v1/routes/sources", SourceList, query={"site": site}))
    rows = table_of("source", "site", "kind", "state", "heard", "taken", "quarantined", "peer", "how it is")
    for one in found.sources:
        peer = f"{one.peer} AS {one.peer_as}" if one.peer else ""
        counts = (str(one.heard), str(one.taken), str(one.quarantined))
        rows.add_row(one.id, one.site_id, one.kind.value, one.state.value, *counts, peer, one.sentence)
    show(rows)


@routes_app.command("list")
def list_command(
    url: Url,
    token_file: TokenFile,
    q: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="An address or a prefix: what is around it or in it.")
    ] = "",
    site: Site = "",
    limit: Limit = 100,
) -> None:
    """Which prefix comes from where."""
    query: dict[str, str | int] = {"q": q, "site": site, "limit": limit}
    found = call(url, token_file, lambda client: client.get("/v1/routes", RouteList, query=query))
    rows = table_of("prefix", "sites", "source", "AS path", "MED", "next hop", "not taken because")
    for route in found.routes:
        for number, heard in enumerate(route.heard):
            first = (route.cidr, " ".join(route.sites)) if number == 0 else ("", "")
            path = " ".join(map(str, heard.as_path))
            rows.add_row(*first, heard.source, path, str(heard.med), heard.next_hop, heard.sentence)
    show(rows)
    _more(len(found.routes), found.total, "prefixes")


@routes_app.command("quarantine")
def quarantine(url: Url, token_file: TokenFile, site: Site = "", limit: Limit = 100) -> None:
    """Routes that are not taken, and why."""
    query: dict[str, str | int] = {"site": site, "limit": limit}
    found = call(url, token_file, lambda client: client.get("/v1/routes/quarantine", QuarantineList, query=query))
    rows = table_of("prefix", "source", "origin AS", "reason", "in words")
    for one in found.quarantined:
        origin = "" if one.origin_as is None else str(one.origin_as)
        rows.add_row(one.cidr, one.source, origin, one.refusal.value, one.sentence)
    show(rows)
    _more(len(found.quarantined), found.total, "routes")


@routes_app.command("inconsistent")
def inconsistent(url: Url, token_file: TokenFile, site: Site = "", limit: Limit = 100) -> None:
    """What appliances of one cluster do not hear alike. Exit code 1 when there is any."""
    query: dict[str, str | int] = {"site": site, "limit": limit}
    found = call(url, token_file, lambda client: client.get("/v1/routes/inconsistent", InconsistencyList, query=query))
    rows = table_of("prefix", "site", "cluster", "heard by", "missing at")
    for one in found.inconsistencies:
        rows.add_row(one.cidr, one.site_id, one.cluster, " ".join(one.heard_by), " ".join(one.missing_at))
    show(rows)
    _more(len(found.inconsistencies), found.total, "prefixes")
    raise typer.Exit(1 if found.total else 0)


@routes_app.command("lonely")
def lonely(url: Url, token_file: TokenFile, site: Site = "", limit: Limit = 100) -> None:
    """Prefixes that only one site is known by, and who has a shorter one around them."""
    query: dict[str, str | int] = {"site": site, "limit": limit}
    found = call(url, token_file, lambda client: client.get("/v1/routes/lonely", LonelyList, query=query))
    rows = table_of("prefix", "site", "sources", "also covered by")
    for one in found.lonely:
        rows.add_row(one.cidr, one.site_id, " ".join(one.sources), " ".join(one.covered_by) or "nobody")
    show(rows)
    _more(len(found.lonely), found.total, "prefixes")


@routes_app.command("import")
def import_command(
    site_id: SiteId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the import; the same name again replaces it.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is read.", exists=True, dir_okay=False)],
    url: Url,
    token_file: TokenFile,
    kind: Annotated[SourceKind, typer.Option("--kind", help="mrt, file (a prefix a line) or geo (MaxMind's format).")],
    asn: Annotated[
        int | None, typer.Option("--as", help="mrt: only of this neighbour; geo: networks of this AS.")
    ] = None,
    country: Annotated[str | None, typer.Option("--country", help="geo: networks of this country (ISO 3166).")] = None,
) -> None:
    """Import the routes of a site. Its policy says what of them is taken."""
    try:
        read = tuple(reader(kind, file, asn, country).routes())
    except RouteSourceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    given = RouteImport(kind, read, str(file))
    path = f"/v1/sites/{quote(site_id)}/routes/{quote(name)}"
    found = call(url, token_file, lambda client: client.put(path, given, SourceFacts), IMPORT_TIMEOUT_S)
    typer.echo(f"{found.id}: {found.sentence}")


@routes_app.command("drop")
def drop(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Its id, as `sources` shows it.")],
    url: Url,
    token_file: TokenFile,
) -> None:
    """Forget a source with its routes. A session that lives is heard again."""
    call(url, token_file, lambda client: client.delete("/v1/routes/sources", query={"id": source}))


@routes_app.command("allow")
def allow(
    site_id: SiteId,
    url: Url,
    token_file: TokenFile,
    ranges: Annotated[
        list[str] | None, typer.Argument(metavar="[PREFIX]…", help="Ranges that may be announced.")
    ] = None,
    asns: Annotated[
        list[int] | None, typer.Option("--as", help="Origins that may be announced; may be repeated.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="APPLIANCE/SESSION or an import; without it all that have no own policy.")
    ] = "",
    maximum: Annotated[int, typer.Option("--maximum", min=1, help="Most prefixes, taken or not.")] = 20_000,
    longest_v4: Annotated[int, typer.Option("--longest-v4", help="Longest IPv4 prefix.")] = 24,
    longest_v6: Annotated[int, typer.Option("--longest-v6", help="Longest IPv6 prefix.")] = 48,
) -> None:
    """Say what sources of a site may announce, in place of what was said before. Nothing said means nothing is taken."""
    policy = RoutePolicy(tuple(ranges or ()), tuple(asns or ()), maximum, longest_v4, longest_v6)
    path = f"/v1/sites/{quote(site_id)}/route-policy"
    call(url, token_file, lambda client: client.put(path, policy, RoutePolicy, query={"source": source}))


def reader(kind: SourceKind, file: Path, asn: int | None, country: str | None) -> RouteSource:
    """Raises RouteSourceError for what is in no file."""
    from control_plane.routes.reading import GeoDatabase, HandMadeFile, MrtDump

    match kind:
        case SourceKind.MRT:
            return MrtDump(file, asn)
        case SourceKind.FILE:
            return HandMadeFile(file)
        case SourceKind.GEO:
            return GeoDatabase(file, asn, country)
        case SourceKind.BGP:
            raise RouteSourceError("bgp comes from the sessions of appliances, not from files")


def _more(shown: int, total: int, what: str) -> None:
    if total > shown:
        typer.echo(f"{shown} of {total} {what}; --limit shows more")
