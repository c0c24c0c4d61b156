"""`failing_worker.py SLOT FILE --handover-fd N`: a worker, except that the one of SLOT dies at once as long as FILE exists."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec


def main() -> None:
    slot, file, fd = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4])
    found = msgspec.json.decode(os.pread(fd, 1 << 20, 0))
    if found["slot"] == slot and file.exists():
        raise SystemExit(7)
    os.execv(sys.executable, [sys.executable, "-m", "oca.worker", "--handover-fd", str(fd)])


if __name__ == "__main__":
    main()
