"""The last world in two files, as the snapshot that the change stream would send: a restart has answers at once.

`world.ndjson` has everything but learnt routes, which change less often and are more: they lie in `routes.ndjson`. Each is written
whole beside and renamed, so that there is always a whole one. What was suspect when it was saved is suspect when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from contracts.world import Change
from steering.announcing import routes_of
from steering.errors import ArchiveError
from steering.prefixes import TableMaker
from steering.world import Draft, World, changes_of

FILE_NAME = "world.ndjson"
ROUTES_NAME = "routes.ndjson"


def save(world: World, path: Path) -> int:
    """Writes the world without its routes; gives its bytes. Blocks: call it in a thread. Raises OSError."""
    return _write(changes_of(world), path)


def save_routes(world: World, path: Path) -> int:
    """Writes the routes beside the world of that path; gives their bytes. Blocks, for seconds when there are half a million.
    Raises OSError."""
    complete = Change(world.number, snapshot_complete=True)
    return _write((*routes_of(world.prefixes, world.guesses, world.number), complete), path.with_name(ROUTES_NAME))


def load(path: Path, make_table: TableMaker) -> World | None:
    """The saved world, with the routes beside it; None when there is no file. Raises ArchiveError when one is not whole."""
    draft = Draft(make_table)
    if not _read(path, draft, "the last world"):
        return None
    _read(path.with_name(ROUTES_NAME), draft, "the last routes")
    return draft.freeze()


def _write(changes: Iterable[Change], path: Path) -> int:
    encoder = msgspec.json.Encoder()
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        for change in changes:
            file.write(encoder.encode(change))
            file.write(b"\n")
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return size


def _read(path: Path, draft: Draft, what: str) -> bool:
    """Adds the file to the draft. False when there is none."""
    complete = False
    try:
        with path.open("rb") as file:
            decoder = msgspec.json.Decoder(Change)
            for line in file:
                change = decoder.decode(line)
                draft.add(change)
                complete = change.snapshot_complete
    except FileNotFoundError:
        return False
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ArchiveError(f"{path}: {what} cannot be read: {error}") from error
    if not complete:
        raise ArchiveError(f"{path}: {what} is not whole")
    return True
