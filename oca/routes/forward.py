"""What ExaBGP starts as its process: passes its events on to the keeper's socket. `python -m oca.routes.forward SOCKET`.

ExaBGP tells a table once. A keeper that was not there, or is gone, has to be told it again, and only a fresh ExaBGP does that: so this helper ends
the one it belongs to, and whatever supervises ExaBGP starts it again.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import suppress

CHUNK = 64 * 1024
AGAIN_S = 1.0
"""Between a keeper that is not there and the end of this helper, so that ExaBGP reads its command and nobody starts things in a rush."""
END_EXABGP = "shutdown\n"
"""A command of ExaBGP's API."""


def main(arguments: list[str]) -> int:
    """Exit code 0 when ExaBGP ended, 1 when the keeper did or is not there, 2 for a wrong command line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m oca.routes.forward SOCKET\n")
        return 2
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(arguments[0])
            _pass_on(line)
    except OSError as error:
        with suppress(OSError):
            sys.stderr.write(f"{arguments[0]}: {error}\n")
            sys.stdout.write(END_EXABGP)
            sys.stdout.flush()
        time.sleep(AGAIN_S)
        return 1
    return 0


def _pass_on(line: socket.socket) -> None:
    """Until ExaBGP ends. Raises OSError when the keeper does."""
    while True:
        ready, _, _ = select.select([0, line.fileno()], [], [])
        # A keeper says nothing: what can be read is its end.
        if line.fileno() in ready and not line.recv(CHUNK):
            raise ConnectionResetError("the keeper has gone")
        if 0 in ready:
            chunk = os.read(0, CHUNK)
            if not chunk:
                return
            line.sendall(chunk)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
