"""Which port each listener gets: wished ones where they are free, else any; remembered, so that addresses survive a restart."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec


def allocate(wanted: Mapping[str, tuple[str, int]], memory: Path) -> dict[str, int]:
    """Listener name → port. `wanted` gives (address, wished port or 0) per listener; what `memory` has is kept."""
    known = msgspec.json.decode(memory.read_bytes(), type=dict[str, int]) if memory.exists() else {}
    taken = {(wanted[name][0], port) for name, port in known.items() if name in wanted}
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


def _is_free(address: str, port: int) -> bool:
    with _socket(address) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _any(address: str, taken: set[tuple[str, int]]) -> int:
    while True:
        with _socket(address) as probe:
            probe.bind((address, 0))
            port = int(probe.getsockname()[1])
        if (address, port) not in taken:
            return port


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
