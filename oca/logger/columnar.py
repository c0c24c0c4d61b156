"""A complete file of the access log as Parquet: `python -m oca.logger.columnar SOURCE TARGET`.

The same fields; CMCD keys become columns (`cmcd_bl` …) with the types of `contracts.cmcd`, lists stay JSON text, unknown keys a map.
Compressed with zstd, in row groups of 100,000. One thread and bounded memory: it runs beside who serves. Lines that cannot be read are
left out. The target appears complete or not at all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.cmcd import CmcdKey, CmcdKind

if TYPE_CHECKING:
    import duckdb

MEMORY = "256MB"
NICE = 19
_SQL_TYPES = {
    CmcdKind.INTEGER: "BIGINT",
    CmcdKind.DECIMAL: "DOUBLE",
    CmcdKind.TOKEN: "VARCHAR",
    CmcdKind.STRING: "VARCHAR",
    CmcdKind.BOOLEAN: "BOOLEAN",
}
COLUMNS = {
    "time": "TIMESTAMP",
    "worker": "UTINYINT",
    "client": "VARCHAR",
    "tls": "BOOLEAN",
    "peer": "BOOLEAN",
    "method": "VARCHAR",
    "status": "USMALLINT",
    "outcome": "VARCHAR",
    "cache": "VARCHAR",
    "bytes": "BIGINT",
    "duration_ms": "DOUBLE",
    "path": "VARCHAR",
    "title": "VARCHAR",
    "tier": "VARCHAR",
    "file": "VARCHAR",
    "missed_bytes": "BIGINT",
    "first": "BIGINT",
    "session": "VARCHAR",
    "cmcd_lists": "VARCHAR",
    "cmcd_other": "MAP(VARCHAR, VARCHAR)",
    "cmcd_malformed": "USMALLINT",
}
"""Column and type, besides the keys of CMCD."""


def cmcd_columns() -> dict[str, str]:
    """Column and type of every key of CMCD."""
    return {f"cmcd_{key.word}": _SQL_TYPES[key.kind] for key in CmcdKey}


def convert(source: Path, target: Path) -> int:
    """Write `target` from `source`; the number of rows. Raises duckdb.Error, OSError."""
    import duckdb

    partial = target.with_name(target.name + ".part")
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY})
    try:
        return _copy(connection, source, partial, target)
    finally:
        connection.close()
        partial.unlink(missing_ok=True)


def _copy(connection: duckdb.DuckDBPyConnection, source: Path, partial: Path, target: Path) -> int:
    keys = ", ".join(f'"{key.word}" {_SQL_TYPES[key.kind]}' for key in CmcdKey)
    # Lists are read as JSON first: their shape is the player's choice.
    read = COLUMNS | {"cmcd": f"STRUCT({keys})", "cmcd_lists": "JSON"}
    shape = ", ".join(f'"{name}": {_quoted(kind)}' for name, kind in read.items())
    chosen = [f'CAST("{name}" AS VARCHAR) AS "{name}"' if name == "cmcd_lists" else _filled(name) for name in COLUMNS]
    chosen += [f'cmcd."{key.word}" AS "cmcd_{key.word}"' for key in CmcdKey]
    lines = (
        f"read_json({_quoted(str(source))}, format = 'newline_delimited', ignore_errors = true, columns = {{{shape}}})"
    )
    rows = connection.execute(
        f"COPY (SELECT {', '.join(chosen)} FROM {lines} WHERE time IS NOT NULL) TO {_quoted(str(partial))} "
        "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
    ).fetchone()
    os.replace(partial, target)
    return int(rows[0]) if rows else 0


def _filled(name: str) -> str:
    """A column; what a line leaves out because it is nought is nought here, too."""
    nought = {"missed_bytes": "0", "cmcd_malformed": "0", "session": "''"}.get(name)
    return f'"{name}"' if nought is None else f'coalesce("{name}", {nought}) AS "{name}"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main(arguments: list[str]) -> int:
    import duckdb

    source, target = (Path(name) for name in arguments)
    os.nice(NICE)
    try:
        convert(source, target)
    except (duckdb.Error, OSError) as error:
        sys.stderr.write(f"{source} cannot be converted: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
