"""`python -m oca.logger --handover-fd N`: the logger's process. Exit codes: 0 all writers are gone, 2 it was not started by a supervisor."""

from __future__ import annotations

import argparse
import os
import signal
import sys

import msgspec

from oca.link.counters import Counters
from oca.link.handover import read_logger_handover
from oca.logger.app import Logger

NICE = 5


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m oca.logger")
    arguments.add_argument("--handover-fd", type=int, required=True)
    try:
        handover = read_logger_handover(arguments.parse_args().handover_fd)
        counters = Counters.attach(handover.counters_fd).line(handover.counters_line)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"oca.logger is started by the supervisor: {error}\n")
        return 2
    # The terminal's Ctrl-C reaches every process of the group; the end of the last writer is what ends the logger.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    logger = Logger(handover.settings, handover.folder_path, handover.pipe_fds, counters)
    signal.signal(signal.SIGTERM, lambda _number, _frame: logger.stop())
    logger.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
