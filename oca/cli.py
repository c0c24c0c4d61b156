"""`lowtide oca …`: run an appliance, see how it is, replace its workers, check its disks, try eviction policies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from chassis.command import settings_or_exit
from oca.config import Appliance
from oca.disk_cli import app as disk_app
from oca.disk_cli import disk_words
from oca.link import unix
from oca.link.commands import RESTART, RestartProgress, socket_path
from oca.link.files import KeeperStatus, Listening, TlsStatus
from oca.routes_cli import routes_command
from oca.store_cli import store_app
from policies.admission import AdmissionName
from policies.eviction import PolicyName

T = TypeVar("T")
NAME = "oca"
STALE_S = 5.0
FOLLOW_S = 0.2

app = typer.Typer(help="The appliance.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(store_app, name="store")
app.add_typer(disk_app, name="disk")
log_app = typer.Typer(help="The access log (docs/access-log.md).", no_args_is_help=True)
app.add_typer(log_app, name="log")
app.command("routes")(routes_command)

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]
ReadyFd = Annotated[int | None, typer.Option("--ready-fd", help="Descriptor that gets one JSON line once it serves.")]


@app.command("run")
def run_command(config: Config = None, ready_fd: ReadyFd = None) -> None:
    """Run the appliance (a supervisor, its workers and a keeper) until it is told to stop."""
    from oca.supervisor.app import run

    raise typer.Exit(run(settings_or_exit(NAME, Appliance, config), ready_fd))


@app.command("status")
def status_command(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the keeper wrote, as it is.")] = False,
) -> None:
    """Say how the appliance on this machine is. Exit code 0 when it is ready, 1 otherwise."""
    settings = settings_or_exit(NAME, Appliance, config)
    run_dir = Path(settings.state_dir) / "run"
    status = _read(run_dir / "keeper.json", KeeperStatus)
    if status is None:
        typer.echo(f"The appliance of {settings.state_dir} has not run yet.", err=True)
        raise typer.Exit(1)
    fresh = time.time() - status.written_at <= STALE_S
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(status), indent=2).decode())
    else:
        listening, tls = _read(run_dir / "listening.json", Listening), _read(run_dir / "tls.json", TlsStatus)
        _print_status(status, listening, fresh, tls_rows(tls, time.time()) if tls is not None else {})
    raise typer.Exit(0 if fresh and status.ready else 1)


@app.command("restart")
def restart_command(config: Config = None) -> None:
    """Replace the workers of the running appliance, one after the other, without ending a connection in the middle of an answer.

    For new code or a new Python; settings stay those the appliance was started with. Exit code 0 when every worker was replaced, 1 otherwise.
    """
    settings = settings_or_exit(NAME, Appliance, config)
    try:
        sock = unix.connect(socket_path(Path(settings.state_dir)))
    except OSError as error:
        typer.echo(f"No appliance of {settings.state_dir} runs here: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    with sock, sock.makefile("rb") as lines:
        sock.sendall(RESTART)
        last = _show_restart(lines)
    if last is None or not last.ended:
        typer.echo("The appliance ended before the restart did.", err=True)
    elif last.refused:
        typer.echo(f"Nothing was restarted: {last.refused}.", err=True)
    raise typer.Exit(0 if last is not None and last.succeeded else 1)


@app.command("purge")
def purge_command(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="/media/TITLE/TIER/FILE, or a key SERVICE|/path.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="All keys that begin so.")] = "",
    tag: Annotated[
        str, typer.Option("--tag", help="title:ID, tier:NAME, group:TITLE/STEM, or what an origin said.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    soft: Annotated[
        bool, typer.Option("--soft", help="Do not delete: ask whether it is current before it is served again.")
    ] = False,
    config: Config = None,
) -> None:
    """Purge content from this appliance alone. Exit code 0 when every worker obeys, 1 when the appliance cannot be told."""
    from contracts.triggers import TriggerType, selection_of
    from oca.link.commands import PURGE, PurgeCommand, PurgeReport, keeper_socket_path

    try:
        selection, text = selection_of(key, prefix, tag, everything)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = PurgeCommand(TriggerType.INVALIDATE if soft else TriggerType.PURGE, selection, text)
    settings = settings_or_exit(NAME, Appliance, config)
    try:
        with (
            unix.connect(keeper_socket_path(Path(settings.state_dir))) as sock,
            sock.makefile("rb") as lines,
        ):
            sock.sendall(PURGE + b" " + msgspec.json.encode(wanted) + b"\n")
            report = msgspec.json.decode(lines.readline() or b"{}", type=PurgeReport)
    except OSError as error:
        typer.echo(f"No keeper of {settings.state_dir} runs here: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    if report.refused or not report.number:
        typer.echo(f"Nothing was purged: {report.refused or 'the keeper ended before it said so'}.", err=True)
        raise typer.Exit(1)
    typer.echo(f"purge {report.number}: every worker obeys, {report.obeyed_s * 1000:.0f} ms after it was written down")


def _show_restart(lines: Iterable[bytes]) -> RestartProgress | None:
    """Prints a line for each slot whose turn changed; gives the last word that was heard."""
    last: RestartProgress | None = None
    for line in lines:
        found = msgspec.json.decode(line, type=RestartProgress)
        said = last.slots if last is not None else ("",) * len(found.slots)
        for slot, (earlier, now) in enumerate(zip(said, found.slots, strict=True)):
            if now != earlier:
                typer.echo(f"worker {slot}: {now}")
        last = found
    return last


@app.command("simulate")
def simulate_command(
    trace: Annotated[Path, typer.Argument(help="The trace: lines (CSV) or libCacheSim's oracleGeneral, also as .zst.")],
    policy: Annotated[list[PolicyName] | None, typer.Option(help="Only these; all by default.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Cache sizes: 500GB, 4GiB, or a share of all objects (10%).")
    ] = None,
    form: Annotated[
        Literal["auto", "csv", "oracle"], typer.Option("--format", help="By the name unless said.")
    ] = "auto",
    columns: Annotated[str, typer.Option(help="Columns of time, key and size in lines, from 1; 0 for none.")] = "1,2,3",
    separator: Annotated[str, typer.Option(help="What separates the fields of a line.")] = ",",
    block_bytes: Annotated[
        int, typer.Option(help="Cut objects into pieces of this length, stored and evicted each by itself; 0: whole.")
    ] = 0,
    count_objects: Annotated[
        bool, typer.Option("--count-objects", help="Take every object for one byte: sizes count objects.")
    ] = False,
    admission: Annotated[AdmissionName, typer.Option(help="Who gets a lasting place.")] = AdmissionName.ALL,
    bound: Annotated[bool, typer.Option(help="Work out the offline optimum too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Replay a trace through the store's eviction policies and say what each would have missed (docs/eviction.md).

    Exit code 1 when the trace cannot be read, 2 when an option cannot be understood.
    """
    from oca.simulate import in_words, load
    from policies.admission import AdmissionRule
    from policies.comparison import Wanted, compare, parse_sizes
    from policies.trace import with_unit_sizes
    from policies.traceformats import Columns, TraceError

    try:
        time_at, key_at, size_at = (int(column) for column in columns.split(","))
        where = Columns(time_at, key_at, size_at, "\t" if separator == "\\t" else separator)
        sizes = parse_sizes(size or ("1%", "5%", "10%", "25%"))
        rule = AdmissionRule(admission)
        wanted = Wanted(sizes, tuple(policy or PolicyName), rule, max(0, block_bytes), with_bound=bound)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("reading")

        def tell(what: str, done: int, total: int) -> None:
            bars.update(bar, description=what, completed=done, total=max(1, total))

        try:
            found = load(trace, form, where, lambda done, total: tell("reading", done, total))
            figures = compare(with_unit_sizes(found) if count_objects else found, wanted, tell)
        except (TraceError, OSError) as error:
            typer.echo(f"{trace}: {error}", err=True)
            raise typer.Exit(1) from None
        except ValueError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
    typer.echo(msgspec.json.format(msgspec.json.encode(figures), indent=2).decode() if as_json else in_words(figures))


@log_app.command("follow")
def follow_command(
    config: Config = None,
    status: Annotated[str, typer.Option(help="Only this status, or its beginning (5, 404).")] = "",
    outcome: Annotated[str, typer.Option(help="Only this outcome (hit, token-expired, …).")] = "",
    cache: Annotated[str, typer.Option(help="Only hit, miss, partial or none.")] = "",
    session: Annotated[str, typer.Option(help="Only this session.")] = "",
    client: Annotated[str, typer.Option(help="Only clients whose network begins so.")] = "",
    path: Annotated[str, typer.Option(help="Only paths that begin so (/media/TITLE/).")] = "",
    slower_ms: Annotated[float, typer.Option(help="Only answers that took at least so long.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are.")] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the first line of the current file.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End at the end of the file.")] = False,
) -> None:
    """Show what is served as it is written to the access log, until Ctrl-C."""
    from oca.logger.reading import Wanted, follow, in_words, read_line
    from oca.logger.rotation import CURRENT

    wanted = Wanted(status, outcome, cache, session, client, path, slower_ms)

    def wait() -> bool:
        if not once:
            time.sleep(FOLLOW_S)
        return not once

    try:
        for text in follow(_log_folder(settings_or_exit(NAME, Appliance, config)) / CURRENT, wait, from_start or once):
            line = read_line(text)
            if line is not None and wanted.takes(line):
                typer.echo(text.decode() if as_json else in_words(line))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@log_app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="A file of JSON lines of the access log.")],
    target: Annotated[Path | None, typer.Argument(help="The Parquet file; beside the source by default.")] = None,
) -> None:
    """Write a file of the access log as Parquet. Exit code 1 when it cannot be read or written."""
    import duckdb

    from oca.logger.columnar import convert
    from oca.logger.rotation import columnar_name

    goal = target if target is not None else source.with_name(columnar_name(source.name))
    try:
        rows = convert(source, goal)
    except (duckdb.Error, OSError) as error:
        typer.echo(f"{source} cannot be converted: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{goal}: {rows} rows")


def _log_folder(settings: Appliance) -> Path:
    return Path(settings.log.folder) if settings.log.folder else Path(settings.state_dir) / "logs"


def _read(path: Path, type_: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.MsgspecError):
        return None


def tls_rows(tls: TlsStatus, now: float) -> dict[str, str]:
    """What an operator sees of the players' TLS. `now` in seconds since the epoch."""
    path = "encrypted by the kernel" if tls.kernel else f"encrypted in user space: {tls.kernel_reason}"
    rows = {
        "TLS": f"{tls.openssl}, {path}",
        "TLS sessions": "resume at every worker"
        if tls.resumption
        else f"resume nowhere but where they began: {tls.resumption_reason}",
    }
    for number, one in enumerate(tls.certificates):
        days = f"{(one.expires_at - now) / 86400:.1f} days left" if one.expires_at else "not in use"
        problem = f"; {one.problem}" if one.problem else ""
        rows[f"certificate {number + 1}"] = f"{', '.join(one.names) or one.cert}: {days}{problem}"
    return rows


def transport_words(listening: Listening) -> str:
    """How bytes leave through the TCP listeners of players."""
    low = listening.not_sent_low_water_bytes
    held = f"at most {low} unsent bytes per connection in the kernel" if low else "no bound on unsent bytes"
    return f"{listening.congestion_control or 'unknown'} congestion control, {held}"


def purge_words(status: KeeperStatus) -> str:
    """How far purges are."""
    swept = f"{status.purges_waiting} not swept yet" if status.purges_waiting else "all swept"
    known = "all that the control plane spoke of" if status.triggers_current else "there may be newer ones"
    return f"number {status.purge_epoch}, {swept}; trigger {status.trigger} ({known})"


def index_words(locked: tuple[bool, ...]) -> str:
    """Per disk, in the order of the settings."""
    missing = [str(number) for number, is_locked in enumerate(locked) if not is_locked]
    if not missing:
        return "locked in memory"
    return f"NOT locked in memory: disk {', '.join(missing)} (/readyz says why; raise RLIMIT_MEMLOCK)"


def _print_status(status: KeeperStatus, listening: Listening | None, fresh: bool, tls: dict[str, str]) -> None:
    table = Table(show_header=False, title=f"appliance {status.appliance_id or '(not enrolled)'}", title_justify="left")
    orders = ", ".join(f"{count} {state}" for state, count in status.orders.items() if count) or "none"
    rows = {
        "running": "yes" if fresh else f"no: the last word is {time.time() - status.written_at:.0f} s old",
        "ready": "yes" if status.ready else f"no: {status.sentence}",
        "state": status.state,
        "control plane": "connected" if status.connected else "away",
        "score": f"{status.score:g} {' '.join(status.reasons)}",
        "plan": f"{status.plan_number}; orders: {orders}",
        "keys": f"number {status.keys_number}",
        "purges": purge_words(status),
        "held": f"{status.held_files} files, {status.held_bytes} bytes",
    }
    rows |= {f"disk {disk.number}": f"{disk.path} ({disk.storage_class}): {disk_words(disk)}" for disk in status.disks}
    if listening is not None:
        players = " ".join((listening.media, *listening.further))
        rows |= {"players": players, "peers": listening.peers, "status page": listening.status}
        rows |= {"transport": transport_words(listening)} | tls
        rows["indexes"] = index_words(listening.index_locked)
    for name, value in rows.items():
        table.add_row(name, value)
    Console(file=sys.stdout).print(table)
