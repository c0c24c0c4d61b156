"""`lowtide control-plane pin …`, `preposition …`, `feeds …`, `report …`: what operators say about placement, and what a night has done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from chassis.client import ServiceClient
from contracts.nightly import NightlyList
from contracts.pins import (
    FeedFacts,
    FeedList,
    Pin,
    PinKind,
    PinList,
    PinRequest,
    PrepositionList,
    PrepositionRequest,
    PrepositionStatus,
)
from contracts.plans import PlanSummary
from contracts.urls import MEDIA_SERVICE, cache_key
from control_plane.calling import PLAN_TIMEOUT_S, TokenFile, Url, call, instant, moment, show, table_of

GB = 1e9
NOW_FOR_S = 12 * 3600.0
"""How long an order out of cycle lasts that came with a pin without an end."""
MOST_NOW_S = 13 * 86400.0

pins_app = typer.Typer(help="What is placed always, or never.", no_args_is_help=True)
prepositions_app = typer.Typer(help="Orders out of cycle: get something somewhere now.", no_args_is_help=True)
feeds_app = typer.Typer(help="Popularity feeds that sites may go by.", no_args_is_help=True)
reports_app = typer.Typer(help="Nightly reports.", no_args_is_help=True)

Subject = Annotated[
    str, typer.Argument(metavar="KEY|TITLE", help="/media/TITLE/TIER/FILE, a key SERVICE|/path, or the id of a title.")
]
Site = Annotated[str, typer.Option("--site", help="Only at this site.")]
Region = Annotated[str, typer.Option("--region", help="Only in this region.")]
Until = Annotated[
    str, typer.Option("--until", help="Until this instant, as 2026-12-24T18:00+01:00 (UTC without a zone).")
]
Why = Annotated[str, typer.Option("--reason", help="Goes to the audit log.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `list` shows it.")]


@pins_app.command("add")
def add_pin(
    subject: Subject,
    url: Url,
    token_file: TokenFile,
    always: Annotated[bool, typer.Option("--always/--never", help="Place it before all else, or nowhere.")] = True,
    site: Site = "",
    region: Region = "",
    since: Annotated[str, typer.Option("--from", help="From this instant on.")] = "",
    until: Until = "",
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the night: fetch it out of cycle, or plan the site anew.")
    ] = False,
    reason: Why = "",
) -> None:
    """Pin or block a file or a title, for a region or a site, between two instants."""
    key, title = _meant(subject)
    kind = PinKind.ALWAYS if always else PinKind.NEVER
    if now and not (site or region):
        raise typer.BadParameter("--now needs --site or --region")
    if now and not always and not site:
        raise typer.BadParameter("--never --now needs --site: that site is planned anew")
    ends_at = instant(until)
    wanted = PinRequest(kind, key, title, region, site, instant(since), ends_at, reason)
    made = call(url, token_file, lambda client: client.post("/v1/pins", wanted, Pin))
    typer.echo(_pin_words(made))
    if made.files == 0:
        typer.echo("no published file is meant by it yet", err=True)
    if now and always:
        end = min(time.time() + MOST_NOW_S, ends_at or time.time() + NOW_FOR_S)
        order = PrepositionRequest(end, key, title, site, region, reason=reason)
        status = call(url, token_file, lambda client: client.post("/v1/prepositions", order, PrepositionStatus))
        _tell(status)
    elif now:
        query = {"site": site}
        plan = call(
            url, token_file, lambda client: client.post("/v1/plans", None, PlanSummary, query=query), PLAN_TIMEOUT_S
        )
        typer.echo(f"plan {plan.number} for site {site} goes by it")


@pins_app.command("list")
def list_pins(url: Url, token_file: TokenFile) -> None:
    """All pins, the oldest first."""
    table = table_of("pin", "kind", "what", "where", "from", "until", "files", "by", "reason")
    for pin in call(url, token_file, lambda client: client.get("/v1/pins", PinList)).pins:
        wanted = pin.wanted
        table.add_row(
            str(pin.number),
            wanted.kind.value,
            wanted.key or wanted.title_id,
            wanted.site_id or wanted.region or "everywhere",
            "–" if wanted.starts_at is None else moment(wanted.starts_at),
            "–" if wanted.ends_at is None else moment(wanted.ends_at),
            str(pin.files),
            pin.operator,
            wanted.reason,
        )
    show(table)


@pins_app.command("remove")
def remove_pin(number: Number, url: Url, token_file: TokenFile) -> None:
    """Take a pin back; the next plan goes without it."""
    gone = call(url, token_file, lambda client: client.delete(f"/v1/pins/{number}", Pin))
    typer.echo(f"pin {gone.number} is gone")


@prepositions_app.command("add")
def add_preposition(
    subject: Subject,
    url: Url,
    token_file: TokenFile,
    until: Until,
    site: Site = "",
    region: Region = "",
    rate_bps: Annotated[int, typer.Option("--rate-bps", help="At most so fast; 0: the rate of the site's window.")] = 0,
    reason: Why = "",
) -> None:
    """Fetch a file or a title to a site, or all sites of a region, now; it is kept there until the end."""
    key, title = _meant(subject)
    order = PrepositionRequest(instant(until) or 0.0, key, title, site, region, rate_bps, reason)
    _tell(call(url, token_file, lambda client: client.post("/v1/prepositions", order, PrepositionStatus)))


@prepositions_app.command("list")
def list_prepositions(url: Url, token_file: TokenFile) -> None:
    """Orders out of cycle, newest first."""
    table = table_of("number", "what", "where", "until", "state", "orders", "done", "failed", "fetched")
    found = call(url, token_file, lambda client: client.get("/v1/prepositions", PrepositionList))
    for status in found.prepositions:
        one = status.preposition
        table.add_row(
            str(one.number),
            one.wanted.key or one.wanted.title_id,
            one.wanted.site_id or one.wanted.region,
            moment(one.wanted.until),
            "active" if status.active else "cancelled" if one.cancelled_at is not None else "over",
            str(len(one.orders)),
            str(status.done),
            str(status.failed),
            f"{status.bytes_done / GB:.2f} of {status.bytes_total / GB:.2f} GB",
        )
    show(table)


@prepositions_app.command("cancel")
def cancel_preposition(number: Number, url: Url, token_file: TokenFile) -> None:
    """End it before its time."""
    call(url, token_file, lambda client: client.delete(f"/v1/prepositions/{number}", PrepositionStatus))
    typer.echo(f"preposition {number} is over")


@feeds_app.command("list")
def list_feeds(url: Url, token_file: TokenFile) -> None:
    """All feeds."""
    table = table_of("feed", "rows", "files", "views", "from", "to", "taken")
    for feed in call(url, token_file, lambda client: client.get("/v1/feeds", FeedList)).feeds:
        hours = (moment(feed.first_hour), moment(feed.last_hour))
        table.add_row(feed.name, str(feed.rows), str(feed.files), f"{feed.views:.0f}", *hours, moment(feed.updated_at))
    show(table)


@feeds_app.command("put")
def put_feed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with the columns file,hour,views.")],
    url: Url,
    token_file: TokenFile,
) -> None:
    """Upload a feed; one of the same name is replaced."""
    raw = file.read_bytes()
    headers = {"Content-Type": "text/csv"}
    path = f"/v1/feeds/{quote(name, safe='')}"
    answer = call(url, token_file, lambda client: _exchanged(client, "PUT", path, raw, headers), PLAN_TIMEOUT_S)
    made = msgspec.json.decode(answer, type=FeedFacts)
    typer.echo(f"feed {made.name}: {made.rows} rows of {made.files} files")


@feeds_app.command("delete")
def delete_feed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")], url: Url, token_file: TokenFile
) -> None:
    """Delete a feed that no site goes by."""
    call(url, token_file, lambda client: client.delete(f"/v1/feeds/{quote(name, safe='')}"))
    typer.echo(f"feed {name} is gone")


@reports_app.command("list")
def list_reports(url: Url, token_file: TokenFile) -> None:
    """Reports that are kept, newest first."""
    table = table_of("site", "day", "served from inside", "filled", "failed orders")
    for entry in call(url, token_file, lambda client: client.get("/v1/reports/nightly", NightlyList)).reports:
        share = "–" if entry.inside_share is None else f"{entry.inside_share:.1%}"
        table.add_row(entry.site_id, entry.day, share, f"{entry.filled_bytes / GB:.2f} GB", str(entry.orders_failed))
    show(table)


@reports_app.command("save")
def save_report(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Its id.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where the page goes.")],
    url: Url,
    token_file: TokenFile,
    day: Annotated[str, typer.Option("--day", help="YYYY-MM-DD at the site; by default the newest.")] = "latest",
) -> None:
    """Save a nightly report as one HTML file that needs nothing beside it."""
    path = f"/v1/reports/nightly/{quote(site, safe='')}/{quote(day, safe='')}/page"
    page = call(url, token_file, lambda client: _exchanged(client, "GET", path))
    try:
        file.write_bytes(page)
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{file}: {len(page)} bytes")


async def _exchanged(
    client: ServiceClient, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The body of an answer that is not JSON, or of a request that is none."""
    async with client.open(method, path, data=data, headers=headers) as response:
        return await response.read()


def _meant(subject: str) -> tuple[str, str]:
    """(key, title): a name without a slash is a title's."""
    if "|" in subject:
        return subject, ""
    return (cache_key(MEDIA_SERVICE, subject), "") if "/" in subject else ("", subject)


def _pin_words(pin: Pin) -> str:
    wanted = pin.wanted
    where = (
        f"at site {wanted.site_id}"
        if wanted.site_id
        else f"in region {wanted.region}"
        if wanted.region
        else "everywhere"
    )
    return f"pin {pin.number}: {wanted.kind.value} {wanted.key or wanted.title_id} {where}, {pin.files} files"


def _tell(status: PrepositionStatus) -> None:
    one = status.preposition
    boxes = sorted({placed.appliance_id for placed in one.orders})
    typer.echo(
        f"preposition {one.number}: {len(one.orders)} orders, {status.bytes_total / GB:.3f} GB at {', '.join(boxes)},"
        f" {one.held} files there already, until {moment(one.wanted.until)}"
    )
    for line in one.refused:
        typer.echo(line, err=True)
