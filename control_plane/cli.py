"""`lowtide control-plane …`: run the service, and everything an operator does, over its HTTP API."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from contracts.enrolment import CodeAnswer, CodeRequest, PeerKind
from contracts.keys import REVOKED_FOR_S, KeyEnding, KeySet, PublicKey, Revocation, RevocationList, RevocationRequest
from contracts.overview import ApplianceOverview, FileList, Overview
from contracts.places import (
    Appliance,
    ApplianceList,
    ApplianceRegistration,
    ApplianceState,
    Site,
    SiteList,
    StateChange,
)
from contracts.plans import PlacementExplanation, PlanList, PlanSummary
from contracts.reports import NetworkList
from contracts.triggers import TriggerRequest, selection_of
from contracts.urls import MEDIA_SERVICE, cache_key
from control_plane import plays_cli, trigger_cli, wish_cli
from control_plane.calling import PLAN_TIMEOUT_S, TokenFile, Url, call, from_file, moment, show, table_of
from control_plane.config import NAME, ControlPlaneSettings
from control_plane.names.cli import names_app
from control_plane.routes.cli import routes_app
from fill_planner.explaining import lines
from fill_planner.snapshot import PlanningSnapshot

GB = 1e9

app = typer.Typer(
    help="The record of what exists and what should.", no_args_is_help=True, pretty_exceptions_enable=False
)
sites_app = typer.Typer(help="Sites.", no_args_is_help=True)
appliances_app = typer.Typer(help="Appliances.", no_args_is_help=True)
codes_app = typer.Typer(help="One-time enrolment codes.", no_args_is_help=True)
keys_app = typer.Typer(help="Public keys.", no_args_is_help=True)
sessions_app = typer.Typer(help="Players' sessions whose media tokens open nothing any more.", no_args_is_help=True)
plan_app = typer.Typer(help="Plans.", no_args_is_help=True)
app.add_typer(sites_app, name="sites")
app.add_typer(appliances_app, name="appliances")
app.add_typer(codes_app, name="codes")
app.add_typer(keys_app, name="keys")
app.add_typer(sessions_app, name="sessions")
app.add_typer(plan_app, name="plan")
app.add_typer(routes_app, name="routes")
app.add_typer(names_app, name="names")
app.add_typer(plays_cli.plays_app, name="plays")
app.add_typer(plays_cli.misses_app, name="misses")
app.add_typer(wish_cli.pins_app, name="pin")
app.add_typer(wish_cli.prepositions_app, name="preposition")
app.add_typer(wish_cli.feeds_app, name="feeds")
app.add_typer(wish_cli.reports_app, name="report")

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]
ReadyFd = Annotated[int | None, typer.Option("--ready-fd", help="Descriptor that gets one JSON line once it serves.")]
BoxId = Annotated[str, typer.Argument(metavar="APPLIANCE", help="Its id.")]
SiteId = Annotated[str, typer.Argument(metavar="SITE", help="Its id.")]


@app.command("run")
def run_command(config: Config = None, ready_fd: ReadyFd = None) -> None:
    """Serve operators, appliances and services until told to stop."""
    from chassis.command import serve
    from control_plane.app import compose

    raise typer.Exit(serve(NAME, ControlPlaneSettings, compose, config=config, ready_fd=ready_fd))


@app.command()
def overview(url: Url, token_file: TokenFile) -> None:
    """Sites, appliances, health and fill progress."""
    found = call(url, token_file, lambda client: client.get("/v1/overview", Overview))
    table = table_of("appliance", "site", "state", "health", "load", "plan", "fill", "held", "disk", "report")
    for item in found.appliances:
        fill = f"{item.fill.done}/{item.fill.orders}" + (f" ({item.fill.failed} failed)" if item.fill.failed else "")
        age = "never" if item.report_age_s is None else f"{item.report_age_s:.0f} s ago"
        table.add_row(
            item.appliance.id,
            item.appliance.site_id,
            item.appliance.state.value,
            _health(item),
            f"{item.health.load:.0%}",
            str(item.plan_number),
            fill,
            f"{item.held_bytes / GB:.2f} GB",
            f"{item.appliance.disk_bytes / GB:.2f} GB",
            age,
        )
    show(table)
    for site in found.sites:
        typer.echo(f"{site.site.id}: {_share(site.inside_share)}")


@sites_app.command("list")
def list_sites(url: Url, token_file: TokenFile) -> None:
    """All sites."""
    found = call(url, token_file, lambda client: client.get("/v1/sites", SiteList))
    table = table_of("site", "name", "isp", "region", "window", "prefixes")
    for site in found.sites:
        window = f"{site.window.start}–{site.window.end} {site.window.timezone}"
        table.add_row(
            site.id, site.name, site.isp, site.region, window, " ".join(prefix.cidr for prefix in site.prefixes)
        )
    show(table)


@sites_app.command("put")
def put_site(
    url: Url,
    token_file: TokenFile,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="YAML or JSON file with the site.")],
) -> None:
    """Make or change a site from a file with its fields."""
    site = from_file(file, Site)
    made = call(url, token_file, lambda client: client.put(f"/v1/sites/{quote(site.id)}", site, Site))
    typer.echo(f"site {made.id} stands in {made.isp}")


@sites_app.command("delete")
def delete_site(site_id: SiteId, url: Url, token_file: TokenFile) -> None:
    """Delete a site that has no appliances, with its traffic."""
    call(url, token_file, lambda client: client.delete(f"/v1/sites/{quote(site_id)}"))
    typer.echo(f"site {site_id} is gone")


@sites_app.command("networks")
def site_networks(
    site_id: SiteId,
    url: Url,
    token_file: TokenFile,
    days: Annotated[int, typer.Option("--days", help="Days back, today included (UTC).")] = 7,
    limit: Annotated[int, typer.Option("--limit", help="Networks at most.")] = 30,
) -> None:
    """Which client networks took most from a site's appliances."""
    path, query = f"/v1/sites/{quote(site_id)}/networks", {"days": days, "limit": limit}
    found = call(url, token_file, lambda client: client.get(path, NetworkList, query=query))
    table = table_of("network", "requests", "bytes", "share", "served by")
    for item in found.networks:
        share = f"{item.served_bytes / found.total_bytes:.1%}" if found.total_bytes else ""
        amount = f"{item.served_bytes / GB:.2f} GB"
        table.add_row(item.network, str(item.requests), amount, share, " ".join(item.appliances))
    show(table)


@appliances_app.command("list")
def list_appliances(url: Url, token_file: TokenFile) -> None:
    """All appliances; `overview` shows how they are."""
    found = call(url, token_file, lambda client: client.get("/v1/appliances", ApplianceList))
    table = table_of("appliance", "site", "cluster", "state", "disk", "players", "peers")
    for item in found.appliances:
        disk = f"{item.disk_bytes / GB:.2f} GB"
        players = " ".join(item.player_urls)
        table.add_row(item.id, item.site_id, item.manifest_cluster, item.state.value, disk, players, item.peer_url)
    show(table)


@appliances_app.command("put")
def put_appliance(
    appliance_id: BoxId,
    url: Url,
    token_file: TokenFile,
    site: Annotated[str, typer.Option("--site", help="The site it stands at.")],
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster",
            help="Its manifest cluster: appliances that share out what they hold. By default the one that it has, else that of"
            " the site's other appliances, else the site's id.",
        ),
    ] = "",
    failure_domain: Annotated[str, typer.Option("--failure-domain", help="What it shares with others.")] = "",
    cache_share: Annotated[float, typer.Option("--cache-share", help="Share of its disk that no plan pins.")] = 0.15,
    egress_bps: Annotated[int, typer.Option("--egress-bps", help="What it can serve, bit/s.")] = 10_000_000_000,
) -> None:
    """Register an appliance, or change its registration (all of it: an option not given is back at its default)."""
    found = call(url, token_file, lambda client: client.get("/v1/appliances", ApplianceList)).appliances
    joined = cluster or usual_cluster(found, appliance_id, site)
    wanted = ApplianceRegistration(appliance_id, site, joined, cache_share, egress_bps, failure_domain)
    path = f"/v1/appliances/{quote(appliance_id)}"
    made = call(url, token_file, lambda client: client.put(path, wanted, Appliance))
    typer.echo(f"appliance {made.id} at site {made.site_id}, cluster {made.manifest_cluster}, is {made.state.value}")


@appliances_app.command("state")
def change_state(
    appliance_id: BoxId,
    state: Annotated[
        ApplianceState,
        typer.Argument(metavar="STATE", help="live, draining, drained, maintenance or retired."),
    ],
    url: Url,
    token_file: TokenFile,
    reason: Annotated[str, typer.Option("--reason", help="Goes to the audit log.")] = "",
) -> None:
    """Ask for another state."""
    path = f"/v1/appliances/{quote(appliance_id)}/state"
    made = call(url, token_file, lambda client: client.post(path, StateChange(state, reason), Appliance))
    typer.echo(f"appliance {made.id} is {made.state.value}")


@appliances_app.command("delete")
def delete_appliance(appliance_id: BoxId, url: Url, token_file: TokenFile) -> None:
    """Delete an appliance that is retired or never enrolled."""
    call(url, token_file, lambda client: client.delete(f"/v1/appliances/{quote(appliance_id)}"))
    typer.echo(f"appliance {appliance_id} is gone")


@codes_app.command("make")
def make_code(
    kind: Annotated[PeerKind, typer.Argument(metavar="KIND", help="appliance or service.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The appliance's id, or steering, origin, playback.")],
    url: Url,
    token_file: TokenFile,
    valid_s: Annotated[float, typer.Option("--valid-s", help="Seconds until it expires.")] = 3600.0,
) -> None:
    """Make a one-time code and print it; nobody can read it again later."""
    wanted = CodeRequest(kind, name, valid_s)
    made = call(url, token_file, lambda client: client.post("/v1/enrolment-codes", wanted, CodeAnswer))
    typer.echo(made.code)


@keys_app.command("list")
def list_keys(url: Url, token_file: TokenFile) -> None:
    """Keys that have not ended."""
    found = call(url, token_file, lambda client: client.get("/v1/keys", KeySet))
    table = table_of("key", "use", "algorithm", "ends")
    for key in found.keys:
        table.add_row(key.kid, key.use.value, key.alg, "–" if key.not_after is None else moment(key.not_after))
    show(table)


@keys_app.command("end")
def end_key(
    kid: Annotated[str, typer.Argument(metavar="KEY", help="Its kid.")],
    url: Url,
    token_file: TokenFile,
    in_s: Annotated[float, typer.Option("--in-s", help="Seconds until then; what it has signed opens until then.")] = 0,
) -> None:
    """Say when a key ends. An end never moves away: its owner has to make a new key."""
    path = f"/v1/keys/{quote(kid, safe='')}/end"
    made = call(url, token_file, lambda client: client.post(path, KeyEnding(in_s), PublicKey))
    typer.echo(f"key {made.kid} ends at {moment(made.not_after or 0.0)}")


@sessions_app.command("revoke")
def revoke_session(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id: `sub` in its media tokens.")],
    url: Url,
    token_file: TokenFile,
    valid_s: Annotated[
        float, typer.Option("--valid-s", help="Seconds until it is forgotten; its tokens should have expired by then.")
    ] = REVOKED_FOR_S,
    reason: Annotated[str, typer.Option("--reason", help="Goes to the audit log.")] = "",
) -> None:
    """Let the media tokens of a session open nothing any more, on every appliance and at the origin."""
    wanted = RevocationRequest(session, valid_s, reason)
    made = call(url, token_file, lambda client: client.post("/v1/revocations", wanted, Revocation))
    typer.echo(f"session {made.session} is revoked until {moment(made.expires_at)}")


@sessions_app.command("revoked")
def revoked_sessions(url: Url, token_file: TokenFile) -> None:
    """Sessions that are revoked now."""
    found = call(url, token_file, lambda client: client.get("/v1/revocations", RevocationList))
    table = table_of("session", "revoked", "forgotten", "reason")
    for item in found.revocations:
        table.add_row(item.session, moment(item.revoked_at), moment(item.expires_at), item.reason)
    show(table)


@sessions_app.command("restore")
def restore_session(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")], url: Url, token_file: TokenFile
) -> None:
    """Take a revocation back."""
    call(url, token_file, lambda client: client.delete(f"/v1/revocations/{quote(session, safe='')}"))
    typer.echo(f"session {session} is revoked no more")


@app.command()
def purge(
    url: Url,
    token_file: TokenFile,
    key: trigger_cli.Key = "",
    prefix: trigger_cli.Prefix = "",
    tag: trigger_cli.Tag = "",
    everything: trigger_cli.Everything = False,
    soft: trigger_cli.Soft = False,
    wait_s: trigger_cli.Wait = 10.0,
    reason: Annotated[str, typer.Option("--reason", help="Goes to the audit log.")] = "",
) -> None:
    """Purge content from every appliance. Exit code 0 when all have acknowledged, 1 while some have not."""
    try:
        selection, text = selection_of(key, prefix, tag, everything)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = TriggerRequest(trigger_cli.TypeOf[soft], selection, text, reason)
    complete = trigger_cli.make(lambda ask: call(url, token_file, ask), wanted, wait_s)
    raise typer.Exit(0 if complete else 1)


@app.command()
def triggers(
    url: Url, token_file: TokenFile, limit: Annotated[int, typer.Option("--limit", help="At most so many.")] = 20
) -> None:
    """Purges, newest first, and who has not acknowledged them."""
    for status in call(url, token_file, lambda client: trigger_cli.listed(client, limit)).triggers:
        typer.echo(f"{moment(status.trigger.created_at)} {status.operator}: {trigger_cli.words(status)}")


@plan_app.command("make")
def make_plan(
    url: Url,
    token_file: TokenFile,
    site: Annotated[str, typer.Option("--site", help="Only for this site; the others keep their plans.")] = "",
) -> None:
    """Make tonight's plan now."""
    query = {"site": site} if site else {}
    made = call(
        url, token_file, lambda client: client.post("/v1/plans", None, PlanSummary, query=query), PLAN_TIMEOUT_S
    )
    typer.echo(_plan_words(made))


@plan_app.command("list")
def list_plans(url: Url, token_file: TokenFile) -> None:
    """Plans that are kept, newest first."""
    for plan in call(url, token_file, lambda client: client.get("/v1/plans", PlanList)).plans:
        typer.echo(_plan_words(plan))


@plan_app.command("snapshot")
def save_snapshot(
    url: Url, token_file: TokenFile, file: Annotated[Path, typer.Argument(dir_okay=False, help="Where it goes.")]
) -> None:
    """Save what a plan would be made from now, for `lowtide fill-planner`."""
    found = call(url, token_file, lambda client: client.get("/v1/plans/snapshot", PlanningSnapshot), PLAN_TIMEOUT_S)
    try:
        file.write_bytes(msgspec.json.encode(found))
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{file}: {len(found.files)} files, {len(found.appliances)} appliances, {len(found.sites)} sites")


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="FILE", help="/media/TITLE/TIER/FILE, or a key of `files`.")],
    url: Url,
    token_file: TokenFile,
    site: Annotated[str, typer.Option("--site", help="The site.")],
    cluster: Annotated[str, typer.Option("--cluster", help="Its manifest cluster, where it has several.")] = "",
) -> None:
    """Why a file is or is not at a site."""
    whole = key if "|" in key else cache_key(MEDIA_SERVICE, key)
    query = {"key": whole, "site": site, **({"cluster": cluster} if cluster else {})}
    path = "/v1/plans/latest/explain"
    found = call(url, token_file, lambda client: client.get(path, PlacementExplanation, query=query))
    typer.echo("\n".join(lines(found)))


@app.command()
def files(url: Url, token_file: TokenFile, words: Annotated[str, typer.Argument(help="Part of the key.")] = "") -> None:
    """Published files."""
    for file in call(url, token_file, lambda client: client.get("/v1/files", FileList, query={"q": words})).files:
        typer.echo(f"{file.key}\t{file.size_bytes}\t{file.blake3}")


def _plan_words(plan: PlanSummary) -> str:
    return (
        f"plan {plan.number}: {plan.orders} orders for {plan.appliances} appliances, {plan.bytes_to_fill / GB:.2f} GB to fill, "
        f"{plan.placed_files} files placed, {plan.unplaced_files} not, {plan.expected_inside_share:.1%} expected from inside"
    )


def usual_cluster(appliances: Iterable[Appliance], appliance_id: str, site: str) -> str:
    """The manifest cluster of an appliance for which none was named. Where a site has several, they are named by hand."""
    here = {item.id: item.manifest_cluster for item in appliances if item.site_id == site}
    if appliance_id in here:
        return here[appliance_id]
    clusters = set(here.values())
    return clusters.pop() if len(clusters) == 1 else site


def _share(share: float | None) -> str:
    return "nothing served yet" if share is None else f"{share:.1%} served from inside"


def _health(item: ApplianceOverview) -> str:
    if item.report_age_s is None:
        return "–"
    reasons = " ".join(item.health.reasons)
    return f"{'suspect' if item.health.suspect else f'{item.health.score:.2f}'} {reasons}".rstrip()
