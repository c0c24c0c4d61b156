"""`store/pull/…`: a thousand readers of one cold file, ours beside nginx with `proxy_cache_lock`, the same origin behind both.

nginx fetches by slices of a block's size, each once: others wait for the lock. Both have two workers. Ours verifies every block by its
digest and checks a token per request; nginx does neither.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serve import peers, processes, running
from benchmarks.serve.rows import Plain, Row
from benchmarks.store.waves import Came, Crowd, FileMade, Wave, Waves
from contracts.digests import BLOCK_BYTES
from contracts.urls import with_token
from oca.config import Fetching, Serving
from onebox.ports import free_port
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

READERS = 1000
SESSIONS = 50
FILE_BYTES = 2 * BLOCK_BYTES
_WORDS = "proxy_cache, proxy_cache_lock, slice 256k, sendfile, 2 workers"


@dataclass(frozen=True, slots=True)
class _Side:
    """Where one of the two listens, and how a file is asked for there."""

    port: int
    targets: Callable[[MadeFile], tuple[str, ...]]


async def rows(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Raises running.CannotStart without nginx."""
    versions = running.versions()
    if "nginx" not in versions:
        raise running.CannotStart("nginx is not installed; `make bench-peers` installs it")
    serving, fetching = Serving(first_byte_s=30.0, stall_s=30.0), Fetching(first_byte_s=20.0, stall_s=20.0)
    async with appliance_world(folder, quota_bytes=512 * MIB, serving=serving, fetching=fetching) as world:
        held = world.publish("held.mp4", BLOCK_BYTES)
        await world.start()
        nginx = _start_nginx(folder / "nginx", world)
        tokens = [world.token(session) for session in range(SESSIONS)]
        ours = _Side(
            world.box.address[1], lambda film: tuple(with_token(token, world.path_of(film)) for token in tokens)
        )
        theirs = _Side(nginx.port, lambda film: (world.path_of(film),))
        waves = await Waves.start(folder / "waves.log")
        try:
            found = [
                tuple(
                    [
                        await _cold(world, waves, side, held, f"{name}-{number}.mp4")
                        for name, side in _sides(ours, theirs)
                    ]
                )
                for number in range(rounds)
            ]
        finally:
            await waves.close()
            nginx.stop()
    made = [
        _row(
            "store/pull/waiter-ms",
            f"ms to the first byte, the median of {READERS} readers of one cold file",
            found,
            0,
            versions,
        ),
        _row(
            "store/pull/wave-s",
            f"s until {READERS} readers have all of a cold file of {FILE_BYTES >> 10} KiB",
            found,
            1,
            versions,
        ),
    ]
    for row in made:
        say(f"  {row.name}: {row.ours:.3g}, nginx {row.peer_value:.3g}")
    return made


def _sides(ours: _Side, theirs: _Side) -> tuple[tuple[str, _Side], tuple[str, _Side]]:
    return ("ours", ours), ("nginx", theirs)


async def _cold(world: World, waves: Waves, side: _Side, held: MadeFile, name: str) -> tuple[float, float, float]:
    """(milliseconds to the median reader's first byte, seconds of the wave, requests at the origin) of a file nobody has asked for."""
    film = world.publish(name, FILE_BYTES)
    await waves.crowd(Crowd("127.0.0.1", side.port, READERS, side.targets(held), FileMade(held.key, len(held.data), 0)))
    asked = len(world.origin.asked)
    came: Came = await waves.wave(Wave(side.targets(film), FileMade(film.key, FILE_BYTES, 0), 0, FILE_BYTES - 1))
    if came.ends != {"complete": READERS}:
        raise RuntimeError(f"{name}: {came.ends}")
    first_ms = statistics.median(1000 * (at - came.began_at) for at in came.first_at)
    return first_ms, came.seconds, float(len(world.origin.asked) - asked)


def _row(
    name: str,
    unit: str,
    found: list[tuple[tuple[float, float, float], ...]],
    which: int,
    versions: dict[str, str],
) -> Row:
    rounds = tuple(
        Plain(ours[which], {"nginx": theirs[which], "fetches": ours[2], "nginx fetches": theirs[2]})
        for ours, theirs in found
    )
    return Row(
        name,
        unit,
        statistics.median(one.value for one in rounds),
        "nginx",
        statistics.median(one.facts["nginx"] for one in rounds),
        rounds,
        versions["nginx"],
        _WORDS,
    )


def _start_nginx(folder: Path, world: World) -> running.Running:
    folder.mkdir()
    ports = peers.Ports(free_port(), free_port())
    origin = world.origin.url.removeprefix("http://")
    http = (
        f"proxy_cache_path {folder}/stored levels=1:2 keys_zone=bench:64m max_size=2g inactive=24h use_temp_path=off;\n"
        f"  upstream origin {{ server {origin}; keepalive 16; }}"
    )
    location = """location /media/ {
      slice 256k;
      proxy_cache bench;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_lock_age 60s;
      proxy_cache_key $uri$slice_range;
      proxy_set_header Range $slice_range;
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_cache_valid 200 206 24h;
      proxy_pass http://origin;
    }"""
    conf = folder / "nginx.conf"
    conf.write_text(
        peers.nginx(str(folder), ports, location, http).replace("worker_processes 1;", "worker_processes 2;")
    )
    command = ["nginx", "-c", str(conf), "-p", str(folder), "-e", str(folder / "error.log")]
    process = processes.start(command, folder / "log", core=None)
    return running.listening(running.Running("nginx", "", _WORDS, ports.off, [process]), folder)
