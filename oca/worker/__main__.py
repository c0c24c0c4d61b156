"""`python -m oca.worker --handover-fd N`: a worker process. Exit codes: 0 drained, 2 it could not begin (the log says why)."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys

import lmdb
import msgspec
import uvloop

from oca.link.handover import Handover, read_handover
from oca.store.errors import StoreError
from oca.worker.app import Stopping, Worker
from oca.worker.logs import Log

CANNOT_BEGIN = 2


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m oca.worker")
    arguments.add_argument("--handover-fd", type=int, required=True)
    try:
        handover = read_handover(arguments.parse_args().handover_fd)
    except (OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"oca.worker is started by the supervisor: {error}\n")
        return CANNOT_BEGIN
    # The terminal's Ctrl-C reaches every process of the group; only the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # uvloop: about a tenth less user time per request of 1 to 512 KiB than the stock loop, measured alternately.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(handover))
    except (StoreError, lmdb.Error, OSError, ValueError) as error:
        Log(handover.slot).write("error", "cannot-begin", detail=f"{type(error).__name__}: {error}")
        return CANNOT_BEGIN


async def _serve(handover: Handover) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(handover, loop)
    loop.add_signal_handler(signal.SIGTERM, worker.stop, Stopping.TOLD)
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process: later collections need not look at it
    gc.set_threshold(
        20_000, 20, 20
    )  # what a request makes is freed by counting references: looking for cycles can wait
    return await worker.run()


if __name__ == "__main__":
    raise SystemExit(main())
