"""`lowtide control-plane plays …` and `misses …`: why a play went where it went, and what did not come from inside."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from contracts.plays import (
    MOST_FOUND,
    AccountImport,
    Cause,
    HourAccount,
    PlayList,
    PlayTold,
    SiteHour,
    SiteHourList,
)
from contracts.reports import Source
from control_plane.calling import TokenFile, Url, call, show, table_of

GB = 1e9
plays_app = typer.Typer(help="Plays, and why they were sent where they were sent.", no_args_is_help=True)
misses_app = typer.Typer(help="What did not come from inside, by site and hour.", no_args_is_help=True)


@plays_app.command("list")
def list_plays(
    url: Url,
    token_file: TokenFile,
    play: Annotated[str, typer.Option("--play", help="Session of a play.")] = "",
    client: Annotated[
        str, typer.Option("--client", help="Address of a player; everybody of its network is found.")
    ] = "",
    title: Annotated[str, typer.Option("--title", help="Id of a title.")] = "",
    since: Annotated[str, typer.Option("--since", help="Instant; without one, an hour before --until.")] = "",
    until: Annotated[str, typer.Option("--until", help="Instant; without one, now.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_FOUND, help="Most rows.")] = 50,
) -> None:
    """Find plays, the newest first."""
    query: dict[str, str | int] = {"play": play, "client": client, "title": title, "since": since, "until": until}
    asked = {name: value for name, value in query.items() if value} | {"limit": limit}
    found = call(url, token_file, lambda its: its.get("/v1/plays", PlayList, query=asked))
    rows = table_of("time", "session", "client", "site", "title", "groups", "first choices", "meant")
    for one in found.plays:
        counts = (str(one.groups), _counted(one.first), _counted(one.meant))
        rows.add_row(
            f"{one.time} moved: {one.steered}" if one.steered else one.time,
            one.play,
            one.client,
            one.site or "(none)",
            one.title,
            *counts,
        )
    show(rows)
    more = "" if found.whole else "; there may be older ones: --limit shows more"
    typer.echo(f"{len(found.plays)} from {found.since} to {found.until}{more}")
    if found.unread:
        typer.echo(f"{found.unread} lines are of a newer format or broken and are left out", err=True)
    _say_silent(found.silent)


@plays_app.command("why")
def why(
    play: Annotated[str, typer.Argument(metavar="SESSION", help="As tokens, access logs and `list` name it.")],
    url: Url,
    token_file: TokenFile,
    since: Annotated[str, typer.Option("--since", help="Instant; without one, twelve hours ago.")] = "",
) -> None:
    """Say why a play was sent where it was sent."""
    asked = {"since": since} if since else {}
    found = call(url, token_file, lambda its: its.get(f"/v1/plays/{quote(play, safe='')}", PlayTold, query=asked))
    for one in found.told:
        decision = one.decision
        typer.echo(f"{decision.time}, world {decision.world}, site {decision.site or '(none)'}.")
        for move in one.moves:
            typer.echo(move.sentence)
        for group, sentences in one.sentences.items():
            typer.echo("\n  ".join((f"{group}:", *sentences)))
    _say_silent(found.silent)


@misses_app.command("list")
def list_misses(
    url: Url,
    token_file: TokenFile,
    site: Annotated[str, typer.Option("--site", help="Only this site.")] = "",
    hours: Annotated[int, typer.Option("--hours", min=1, help="How many back; of all sites at most 168.")] = 48,
    as_csv: Annotated[bool, typer.Option("--csv", help="All columns, in bytes.")] = False,
) -> None:
    """Bytes by source as reported, plays by what was meant, and bytes by cause where logs were joined."""
    query: dict[str, str | int] = {"site": site, "hours": hours}
    found = call(url, token_file, lambda its: its.get("/v1/misses", SiteHourList, query=query))
    if as_csv:
        csv.writer(sys.stdout).writerows([csv_head(), *map(csv_row, found.hours)])
    else:
        rows = table_of(
            "hour", "site", "reported GB", "from the store", "plays", "meant to be inside", "joined GB", *_CAUSES
        )
        for one in found.hours:
            rows.add_row(*_row(one))
        show(rows)
    _say_silent(found.silent)


@misses_app.command("import")
def import_misses(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="What `lowtide steering misses --json` wrote."
        ),
    ],
    url: Url,
    token_file: TokenFile,
) -> None:
    """Take misses of joined logs; those of the same site and hour are replaced."""
    decoder = msgspec.json.Decoder(HourAccount)
    read = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            read.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            typer.echo(f"{file}:{number}: no line of `lowtide steering misses --json`: {error}", err=True)
            raise typer.Exit(2) from None
    given = AccountImport(tuple(read))
    call(url, token_file, lambda its: its.put("/v1/misses", given))
    typer.echo(f"{len(read)} sites and hours are taken")


_CAUSES = tuple(cause.value for cause in Cause)


def csv_head() -> tuple[str, ...]:
    """The columns of `csv_row`."""
    reported = (f"reported_{source.value}_bytes" for source in Source)
    meant = (f"meant_{cause}_groups" for cause in _CAUSES)
    return (
        "hour",
        "site",
        *reported,
        "plays",
        *meant,
        "joined_requests",
        *(f"joined_{cause}_bytes" for cause in _CAUSES),
    )


def csv_row(one: SiteHour) -> tuple[str | int, ...]:
    """One site and hour; what nobody knows is empty."""
    reported = (one.served.get(source.value, "") for source in Source)
    meant = (one.meant.get(cause, "") for cause in _CAUSES)
    joined = (one.joined.get(cause, "") for cause in _CAUSES)
    return (one.hour, one.site, *reported, one.plays if one.meant else "", *meant, one.requests or "", *joined)


def _row(one: SiteHour) -> tuple[str, ...]:
    served, joined = sum(one.served.values()), sum(one.joined.values())
    groups = sum(one.meant.values())
    return (
        one.hour,
        one.site or "(unknown)",
        f"{served / GB:.3f}" if one.served else "–",
        _share(one.served.get(Source.HIT.value, 0), served),
        str(one.plays) if one.meant else "–",
        _share(one.meant.get(Cause.INSIDE.value, 0), groups),
        f"{joined / GB:.3f}" if one.joined else "–",
        *(_share(one.joined.get(cause, 0), joined) for cause in _CAUSES),
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _say_silent(silent: tuple[str, ...]) -> None:
    for words in silent:
        typer.echo(f"not asked or not answering: {words}", err=True)
