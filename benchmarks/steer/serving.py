"""A steering service over a made world, without a control plane: `python -m benchmarks.steer.serving --folder F --ready-fd N`.

All of the real service but the stream: its source gives the world of `deciding.world_of` and then ticks.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.steer.deciding import world_of
from chassis.service import Service, run
from contracts.world import Change
from steering.announcing import routes_of
from steering.app import assemble
from steering.config import ControlPlane, DecisionLog, Http, SteeringSettings
from steering.world import changes_of

TICK_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steer.serving", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--appliances", type=int, default=1000)
    parser.add_argument("--prefixes", type=int, default=500_000)
    parser.add_argument("--no-log", action="store_true", help="without the steering log")
    arguments = parser.parse_args()
    world = world_of(arguments.appliances, arguments.prefixes)
    settings = SteeringSettings(
        state_dir=arguments.folder,
        control_plane=ControlPlane("https://nobody.invalid"),
        http=Http(port=0),
        save_every_s=3600.0,
        decision_log=DecisionLog(enabled=not arguments.no_log),
        log_level="warning",
    )

    async def changes(_after: int) -> AsyncIterator[Change]:
        for change in changes_of(world):
            if not change.snapshot_complete:
                yield change
        for change in routes_of(world.prefixes, world.guesses, world.number):
            yield change
        yield Change(world.number, snapshot_complete=True)
        while True:
            await asyncio.sleep(TICK_S)
            yield Change(world.number, tick=True)

    async def compose(service: Service) -> None:
        assemble(service, settings, changes)

    return run(Service("steering", compose, ready_fd=arguments.ready_fd))


if __name__ == "__main__":
    sys.exit(main())
