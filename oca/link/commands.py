"""What `lowtide oca` tells a running supervisor: a Unix stream socket in the state folder, only for the same user.

One command per connection, a line of text: `restart`. The answer is lines of JSON (`RestartProgress`), one at once and one per change,
the last with `ended`; then the supervisor closes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

RESTART = b"restart\n"


class RestartProgress(msgspec.Struct, frozen=True):
    """How far a rolling restart is. `slots` has a sentence per worker slot; `refused` says why there is none at all."""

    slots: tuple[str, ...] = ()
    ended: bool = False
    succeeded: bool = False
    refused: str = ""


def socket_path(state_dir: Path) -> Path:
    """Where the supervisor listens."""
    return state_dir / "run" / "supervisor.sock"
