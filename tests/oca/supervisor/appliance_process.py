"""`python appliance_process.py SETTINGS_JSON READY_FD`: one appliance as a process of its own, to be killed by tests."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from oca.config import Appliance
from oca.supervisor.app import run

if __name__ == "__main__":
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Appliance)
    raise SystemExit(run(settings, int(sys.argv[2])))
