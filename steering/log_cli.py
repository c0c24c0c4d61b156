"""`lowtide steering misses`, `replay`, `plays` and `why`: what the steering log has to say; the last two ask a running service."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.decisions import PlayExplanation
from contracts.plays import MOST_FOUND, Cause, HourAccount, PlayList
from contracts.world import Why
from steering import archive
from steering.candidates import Rules
from steering.errors import ArchiveError
from steering.log_reading import Broken, decisions_of, served_of
from steering.misses import Account, Accounts, account
from steering.prefixes import HashedPrefixes
from steering.replaying import Outcome, changed, replays

T = TypeVar("T")
SteeringLog = Annotated[list[Path], typer.Option(help="file or folder of a steering log; may be given more than once")]
Url = Annotated[str, typer.Option(envvar="LOWTIDE_STEERING_URL", help="base URL of steering")]


def misses(
    steering_log: SteeringLog,
    access_log: Annotated[list[str], typer.Option(help="APPLIANCE=PATH of an access log (JSON lines), file or folder")],
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Account for every byte that came from outside a site, per site and hour: content miss, health miss, other.

    With --json the lines are what `lowtide control-plane misses import` takes.
    """
    broken = Broken()
    try:
        found = account(decisions_of(steering_log, broken), served_of(access_log, broken))
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _say_broken(broken)
    if json:
        for (site, hour), one in found.items():
            typer.echo(msgspec.json.encode(_line(site, hour, one)))
    else:
        _print_accounts(found)


def replay_log(
    log: Annotated[list[Path], typer.Argument(help="files or folders of a steering log")],
    world: Annotated[Path, typer.Option(help="a saved world: world.ndjson of a steering's state folder")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=NUMBER of a rule, such as load_factor=1.3")
    ] = None,
) -> None:
    """Make recorded decisions again, with the usual rules and with others, and say what differs."""
    broken = Broken()
    try:
        rules = changed(Rules(), dict(_setting(text) for text in settings or ()))
        known = archive.load(world, HashedPrefixes)
        if known is None:
            raise ValueError(f"{world}: there is no such file")
        usual, other = replays(decisions_of(log, broken), known, (Rules(), rules))
    except (OSError, ValueError, ArchiveError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _say_broken(broken)
    _print_replays(usual, other, ", ".join(settings or ()) or "the same")


def why(
    play: Annotated[str, typer.Argument(help="session of a play, as tokens and access logs name it")],
    since: Annotated[str, typer.Option(help="instant, ISO 8601; without one, twelve hours ago")] = "",
    url: Url = "http://127.0.0.1:8090",
) -> None:
    """Say why a play was sent where it was sent."""
    found = _asked(url, "/v1/explain", PlayExplanation, {"play": play, "since": since})
    typer.echo(f"{found.decision.time}, world {found.decision.world}, site {found.decision.site or '(none)'}.")
    for group, sentences in found.sentences.items():
        typer.echo(f"{group}:")
        for sentence in sentences:
            typer.echo(f"  {sentence}")
    for move in found.moves:
        typer.echo(f"{move.time}: {move.sentence}")
        typer.echo(f"  The order is {', '.join(move.course)}.")


def plays(
    play: Annotated[str, typer.Option(help="session of a play")] = "",
    client: Annotated[str, typer.Option(help="whole address of a player; it is cut as the log cuts it")] = "",
    title: Annotated[str, typer.Option(help="id of a title")] = "",
    since: Annotated[str, typer.Option(help="instant, ISO 8601; without one, an hour before --until")] = "",
    until: Annotated[str, typer.Option(help="instant; without one, now")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST_FOUND, help="most rows")] = 50,
    url: Url = "http://127.0.0.1:8090",
) -> None:
    """Find plays in the log of a running steering, the newest first: by session, address, title and time."""
    query: dict[str, str | int] = {"play": play, "client": client, "title": title, "since": since, "until": until}
    found = _asked(url, "/v1/plays", PlayList, {**query, "limit": limit})
    table = Table()
    for heading in ("time", "session", "client", "site", "title", "groups", "first choices", "meant"):
        table.add_column(heading, overflow="fold")
    for one in found.plays:
        counts = (_counted(one.first), _counted(one.meant))
        table.add_row(
            f"{one.time} moved: {one.steered}" if one.steered else one.time,
            one.play,
            one.client,
            one.site or "(none)",
            one.title,
            str(one.groups),
            *counts,
        )
    Console(file=sys.stdout, width=200).print(table)
    more = "" if found.whole else "; there may be older ones: --limit shows more"
    typer.echo(f"{len(found.plays)} from {found.since} to {found.until}{more}.")
    if found.unread:
        typer.echo(f"{found.unread} lines are of a newer format or broken and are left out.")


def _asked(url: str, path: str, kind: type[T], query: dict[str, str | int]) -> T:
    """The answer of steering; a refusal is told, exit code 1."""

    async def asked() -> T:
        async with ServiceClient(url) as client:
            return await client.get(path, kind, query=query)

    try:
        return asyncio.run(asked())
    except ServiceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _setting(text: str) -> tuple[str, float]:
    name, _equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not NAME=NUMBER")
    return name, number


def _line(site: str, hour: str, one: Account) -> HourAccount:
    sent = {cause.value: count for cause, count in one.sent_bytes.items()}
    return HourAccount(site, hour, one.requests, sent, {cause.value: count for cause, count in one.plays.items()})


def _say_broken(broken: Broken) -> None:
    if broken.lines:
        typer.echo(f"{broken.lines} broken lines are left out, the first is {broken.first}.", err=True)


def _print_accounts(found: Accounts) -> None:
    table = Table()
    for heading in (
        "site",
        "hour",
        "requests",
        "GB",
        *(cause.value for cause in Cause),
        "plays' groups",
        *(f"meant {c.value}" for c in Cause),
    ):
        table.add_column(heading)
    for (site, hour), one in found.items():
        sent, plays = sum(one.sent_bytes.values()), sum(one.plays.values())
        shares = [_share(one.sent_bytes[cause], sent) for cause in Cause]
        meant = [_share(one.plays[cause], plays) for cause in Cause]
        table.add_row(site or "(unknown)", hour, str(one.requests), f"{sent / 1e9:.3f}", *shares, str(plays), *meant)
    Console(file=sys.stdout, width=200).print(table)


def _print_replays(usual: Outcome, other: Outcome, setting: str) -> None:
    differ = sum(one != another for one, another in zip(usual.firsts, other.firsts, strict=True))
    typer.echo(f"{usual.groups} groups; {differ} of them have another first choice with {setting}.")
    table = Table()
    for heading in ("", "usual rules", setting):
        table.add_column(heading)
    for why_word in Why:
        if usual.whys[why_word] or other.whys[why_word]:
            table.add_row(why_word.value, f"{usual.share(why_word):.1%}", f"{other.share(why_word):.1%}")
    for site in sorted(usual.boxes.keys() | other.boxes.keys()):
        table.add_row(f"hottest / mean of {site}", f"{usual.hottest(site):.2f}", f"{other.hottest(site):.2f}")
    Console(file=sys.stdout, width=120).print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
