"""The last world in a file, as the snapshot that the change stream would send: a restart has answers at once.

Written whole beside and renamed, so that there is always a whole one. What was suspect when it was saved is suspect when it
is read.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from contracts.world import Change
from steering.errors import ArchiveError
from steering.prefixes import TableMaker
from steering.world import Draft, World, changes_of

FILE_NAME = "world.ndjson"


def save(world: World, path: Path) -> int:
    """Writes the world; gives its bytes. Blocks: call it in a thread. Raises OSError."""
    encoder = msgspec.json.Encoder()
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        for change in changes_of(world):
            file.write(encoder.encode(change))
            file.write(b"\n")
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return size


def load(path: Path, make_table: TableMaker) -> World | None:
    """The saved world; None when there is no file. Raises ArchiveError when it is not a whole world."""
    draft = Draft(make_table)
    complete = False
    try:
        with path.open("rb") as file:
            decoder = msgspec.json.Decoder(Change)
            for line in file:
                change = decoder.decode(line)
                draft.add(change)
                complete = change.snapshot_complete
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ArchiveError(f"{path}: the last world cannot be read: {error}") from error
    if not complete:
        raise ArchiveError(f"{path}: the last world is not whole")
    return draft.freeze()
