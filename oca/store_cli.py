"""`lowtide oca store …`: what the disks hold, whether it is consistent, whether it is what was stored."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from chassis.command import settings_or_exit
from oca.config import Appliance
from oca.link import unix
from oca.link.commands import DiskScrub, ScrubReport, keeper_socket_path

if TYPE_CHECKING:
    from oca.store.checking import DiskCheck
    from oca.store.disks import DiskSettings
    from oca.store.exporting import Exporter
    from oca.store.scrub import Scrub
    from oca.store.writer import StoreWriter

NAME = "oca"
SHOWN = 20
"""Findings of a disk that are printed one by one; JSON has all."""

store_app = typer.Typer(help="What the disks hold, and whether it is right.", no_args_is_help=True)
Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ListFormat(Enum):
    CSV = "csv"
    JSON = "json"


@store_app.command("check")
def check_command(
    config: Config = None,
    as_json: AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read the blocks themselves.")] = False,
) -> None:
    """Compare index, files, bitmaps, trailers, blocks and accounts of every disk. Changes nothing; the appliance may run.

    Exit code 0 when all is well, 1 when something is wrong, 2 when a disk cannot be opened.
    """
    import lmdb

    from oca.store.checking import DiskChecker
    from oca.store.errors import StoreError

    settings = settings_or_exit(NAME, Appliance, config)
    checks: list[DiskCheck] = []
    closed: dict[str, str] = {}
    with _bars() as bars:
        for disk in _disks(settings):
            bar = bars.add_task(disk.path, total=None)

            def tell(done: int, total: int, bar: TaskID = bar) -> None:
                bars.update(bar, completed=done, total=total)

            try:
                checker = DiskChecker(disk.path, disk.quota_bytes, not quick)
            except (StoreError, OSError, lmdb.Error) as error:
                closed[disk.path] = str(error)
                continue
            try:
                checks.append(checker.check(tell))
            except (lmdb.Error, OSError) as error:
                closed[disk.path] = str(error)
            finally:
                checker.close()
    wrong = any(check.is_wrong for check in checks)
    if as_json:
        _print_json({"wrong": wrong, "disks": [_check_fields(check) for check in checks], "not_opened": closed})
    else:
        for line in _check_lines(checks, closed):
            typer.echo(line)
    raise typer.Exit(2 if closed else int(wrong))


def _check_fields(check: DiskCheck) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(check, name) for name in check.__dataclass_fields__ if name != "found"}
    found = [
        {"finding": one.finding.word, "wrong": one.finding.wrong, "where": one.where, "detail": one.detail}
        for one in check.found
    ]
    return fields | {"wrong": check.is_wrong, "found": found}


def _check_lines(checks: Iterable[DiskCheck], closed: dict[str, str]) -> Iterator[str]:
    for check in checks:
        read = f"{check.blocks_read} of {check.blocks} blocks read"
        yield (
            f"{check.path}: {check.objects} files in {check.extents} extents, {read}, "
            f"{check.allocated_bytes} of {check.quota_bytes} bytes used, {'wrong' if check.is_wrong else 'all is well'}"
        )
        for one in check.found[:SHOWN]:
            yield "  " + " ".join(part for part in (one.finding.word, one.where, one.detail) if part)
        if len(check.found) > SHOWN:
            yield f"  and {len(check.found) - SHOWN} more (--json has all)"
    for path, why in closed.items():
        yield f"{path}: cannot be opened: {why}"


@store_app.command("scrub")
def scrub_command(
    config: Config = None,
    as_json: AsJson = False,
    rate: Annotated[int, typer.Option(min=0, help="Bytes per second of each disk; 0: as fast as it gives them.")] = 0,
) -> None:
    """Read every block from the disks and compare it; bad ones are quarantined, and come again when they are asked for.

    By the keeper of the running appliance, without stopping anything (Ctrl-C ends it), or here when none runs.
    Exit code 0 when all blocks were good, 1 when some were bad, 2 when a disk was not read to its end.
    """
    settings = settings_or_exit(NAME, Appliance, config)
    last: ScrubReport | None = None
    with _bars() as bars:
        shown: dict[str, TaskID] = {}
        try:
            for report in _scrub(settings, rate):
                last = report
                for disk in report.disks:
                    if disk.path not in shown:
                        shown[disk.path] = bars.add_task(disk.path)
                    bars.update(shown[disk.path], completed=disk.extents_passed, total=max(1, disk.extents))
        except KeyboardInterrupt:
            typer.echo("The scrub was broken off.", err=True)
    if last is None or last.refused or not last.disks:
        typer.echo(last.refused if last is not None and last.refused else "No disk was scrubbed.", err=True)
        raise typer.Exit(2)
    if as_json:
        _print_json(msgspec.to_builtins(last))
    else:
        for disk in last.disks:
            typer.echo(_scrub_line(disk))
    if not all(disk.ended for disk in last.disks):
        raise typer.Exit(2)
    raise typer.Exit(int(any(disk.bad_blocks for disk in last.disks)))


def _scrub_line(disk: DiskScrub) -> str:
    far = "" if disk.ended else f"; not to its end ({disk.extents_passed} of {disk.extents} extents) {disk.failure}"
    return f"{disk.path}: {disk.blocks} blocks read, {disk.bad_blocks} bad{far}"


def _scrub(settings: Appliance, rate: int) -> Iterator[ScrubReport]:
    try:
        sock = unix.connect(keeper_socket_path(Path(settings.state_dir)))
    except OSError:
        yield from _scrub_here(settings, rate)
        return
    with sock, sock.makefile("rb") as lines:
        sock.sendall(b"scrub %d\n" % rate)
        for line in lines:
            yield msgspec.json.decode(line, type=ScrubReport)


def _scrub_here(settings: Appliance, rate: int) -> Iterator[ScrubReport]:
    """No keeper runs: this process is one as long as it lasts."""
    import lmdb

    from oca.link.settings import store_settings
    from oca.store.board import Board, BoardShape
    from oca.store.errors import StoreError
    from oca.store.writer import StoreWriter

    absent = [disk.path for disk in settings.store.disks if not Path(disk.path, "lowtide-disk.json").exists()]
    if absent:
        yield ScrubReport(ended=True, refused=f"no disk there yet: {', '.join(absent)}")
        return
    board = Board.create(BoardShape(workers=1, disks=len(settings.store.disks)))
    try:
        store = StoreWriter.open(store_settings(settings), board, time.time)
    except (StoreError, OSError, lmdb.Error) as error:
        yield ScrubReport(ended=True, refused=str(error))
        return
    try:
        yield from _rounds(store, rate)
    finally:
        store.close()
        board.close()


def _rounds(store: StoreWriter, rate: int) -> Iterator[ScrubReport]:
    from oca.store.errors import StoreError

    scrubs = store.new_scrubs()
    failures: dict[int, str] = dict(store.unavailable)
    for number, scrub in scrubs.items():
        while not scrub.rounds and number not in failures:
            began = time.monotonic()
            try:
                read = scrub.some(16).read_bytes
            except StoreError as error:
                failures[number] = str(error)
                break
            yield _report(store, scrubs, failures, ended=False)
            if rate:
                time.sleep(max(0.0, read / rate - (time.monotonic() - began)))
    yield _report(store, scrubs, failures, ended=True)


def _report(store: StoreWriter, scrubs: dict[int, Scrub], failures: dict[int, str], ended: bool) -> ScrubReport:
    disks: list[DiskScrub] = []
    for number, disk in enumerate(store.settings.disks):
        if number not in scrubs:
            disks.append(DiskScrub(disk.path, 0, 0, 0, 0, False, failures.get(number, "")))
            continue
        found = scrubs[number].progress
        passed = found.extents if found.rounds else found.extents_passed
        disks.append(
            DiskScrub(
                disk.path,
                passed,
                found.extents,
                found.blocks,
                found.bad_blocks,
                bool(found.rounds),
                failures.get(number, ""),
            )
        )
    return ScrubReport(tuple(disks), ended)


@store_app.command("export")
def export_command(
    config: Config = None,
    form: Annotated[
        ListFormat, typer.Option("--format", help="Lines of CSV with a header, or of JSON.")
    ] = ListFormat.CSV,
    key: Annotated[str, typer.Option("--object", help="Write the bytes of this key instead of the list.")] = "",
    out: Annotated[Path | None, typer.Argument(help="Where to; the standard output by default.")] = None,
) -> None:
    """Write what is held: one line per file (key, version, size, blocks, pins, age, disks), or the bytes of one, each block verified.

    Changes nothing; the appliance may run. Exit code 1 when the object is not here as a whole or not what was stored, 2 when a disk cannot be opened.
    """
    import lmdb

    from oca.store.errors import StoreError
    from oca.store.exporting import CannotExport, Exporter

    settings = settings_or_exit(NAME, Appliance, config)
    try:
        exporter = Exporter([disk.path for disk in _disks(settings)])
    except (StoreError, OSError, lmdb.Error) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    try:
        if key:
            _export_object(exporter, key, out)
        else:
            _export_list(exporter, form, out)
    except (CannotExport, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    finally:
        exporter.close()


def _export_list(exporter: Exporter, form: ListFormat, out: Path | None) -> None:
    from oca.store.exporting import COLUMNS

    with (
        out.open("w", newline="")
        if out is not None
        else os.fdopen(os.dup(sys.stdout.fileno()), "w", newline="") as file
    ):
        if form is ListFormat.CSV:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for row in exporter.rows(time.time()):
                table.writerow(_cells(row.fields()))
        else:
            for row in exporter.rows(time.time()):
                file.write(msgspec.json.encode(row.fields()).decode() + "\n")


def _cells(fields: dict[str, Any]) -> list[Any]:
    return [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in fields.values()]


def _export_object(exporter: Exporter, key: str, out: Path | None) -> None:
    """A file appears whole or not at all."""
    if out is None:
        exporter.write(key, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    temporary = out.with_name(f".{out.name}.new")
    try:
        with temporary.open("wb") as file:
            size = exporter.write(key, file.write)
        temporary.replace(out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    typer.echo(f"{out}: {size} bytes, every block verified")


def _disks(settings: Appliance) -> list[DiskSettings]:
    """Those of the configuration, and those that joined a running appliance; without what was removed."""
    from oca.link.files import read_roster
    from oca.link.settings import store_settings

    listed = store_settings(settings, read_roster(settings.state_dir)).disks
    known = {disk.path for disk in listed}
    configured = [disk for disk in store_settings(settings).disks if disk.path not in known]
    return [disk for disk in listed if not disk.removed] + configured


def _bars() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
