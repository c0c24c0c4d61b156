"""What ExaBGP starts as its process: passes its events on to the keeper's socket. `python -m oca.routes.forward SOCKET`.

It ends when either side does: ExaBGP starts it again, which tells the keeper that what was learnt is gone until it is told anew.
"""

from __future__ import annotations

import os
import socket
import sys
import time

CHUNK = 64 * 1024
AGAIN_S = 1.0
"""Between a keeper that is not there and the next start, so that ExaBGP does not give up on a helper that ends at once."""


def main(arguments: list[str]) -> int:
    """Exit code 0 when ExaBGP ended, 1 when the keeper did or is not there, 2 for a wrong command line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m oca.routes.forward SOCKET\n")
        return 2
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(arguments[0])
            while chunk := os.read(0, CHUNK):
                line.sendall(chunk)
    except OSError as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        time.sleep(AGAIN_S)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
