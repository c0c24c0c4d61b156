"""Which port each listener gets: wished ones where they are free, else any; remembered, so that addresses survive a restart."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

MOST_TRIES = 64


def allocate(
    wanted: Mapping[str, tuple[str, int]], memory: Path, alike: Sequence[Collection[str]] = ()
) -> dict[str, int]:
    """Listener name → port. `wanted` gives (address, wished port or 0) per listener; what `memory` has is kept.

    The listeners of each collection in `alike` get one port, when they have addresses of their own and it is found.
    """
    known = msgspec.json.decode(memory.read_bytes(), type=dict[str, int]) if memory.exists() else {}
    taken = {(wanted[name][0], port) for name, port in known.items() if name in wanted}
    for names in ([name for name in its if name in wanted] for its in alike):
        port = 0 if any(name in known for name in names) else _common([wanted[name] for name in names], taken)
        if port:
            known |= dict.fromkeys(names, port)
            taken |= {(wanted[name][0], port) for name in names}
    for name, (address, wish) in wanted.items():
        if name not in known:
            known[name] = (
                wish if wish and (address, wish) not in taken and _is_free(address, wish) else _any(address, taken)
            )
            taken.add((address, known[name]))
    part = memory.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(known))
    part.replace(memory)
    return known


def _common(wanted: Sequence[tuple[str, int]], taken: Collection[tuple[str, int]]) -> int:
    """A port that is free at all of the addresses, the first one's wish if that is; 0 for none."""
    addresses = [address for address, _wish in wanted]
    if not addresses or len(set(addresses)) < len(addresses):
        return 0
    tried = wanted[0][1]
    for _ in range(MOST_TRIES):
        if tried and all((address, tried) not in taken and _is_free(address, tried) for address in addresses):
            return tried
        tried = _any(addresses[0], taken)
    return 0


def _is_free(address: str, port: int) -> bool:
    with _socket(address) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _any(address: str, taken: Collection[tuple[str, int]]) -> int:
    while True:
        with _socket(address) as probe:
            probe.bind((address, 0))
            port = int(probe.getsockname()[1])
        if (address, port) not in taken:
            return port


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
