"""Which port each listener gets: wished ones where they are free, else any; remembered, so that addresses survive a restart.

"Any" is `free_port`: a port of the range from which the kernel takes those of outgoing connections (`bind` to port 0 does, too) may
belong to a connection when its listener is opened, or opened again. What is chosen here is outside that range.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

MOST_TRIES = 64
LISTENABLE = range(11_000, 65_536)
"""Above the fixed ports of most programs, and above 10080, which browsers do not dial (Fetch standard, "bad port")."""
OUTGOING_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_OUTGOING = range(32_768, 65_536)
"""Linux' default together with the dynamic ports of RFC 6335 §6."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port to which nobody is bound at `address`, and which no outgoing connection takes by chance while it waits for its listener.

    It is given once in a process; that another process is given the same at that time is unlikely, not impossible. Where nothing
    is free outside the kernel's own range, it is one of that. Raises OSError for an address that is not this machine's.
    """
    return _ports().take(address)


def outgoing_ports(file: Path = OUTGOING_FILE) -> range:
    """What the kernel takes for outgoing connections, as `file` says it (first and last); `USUAL_OUTGOING` where it says nothing."""
    try:
        first, last = (int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return USUAL_OUTGOING
    return range(first, last + 1)


class FreePorts:
    """Hands out each of `ports` at most once: onwards from a random one, so that processes that ask at the same time rarely meet.
    When there are no more, what the kernel gives, each at most once too."""

    def __init__(self, ports: Sequence[int], rng: random.Random) -> None:
        start = rng.randrange(len(ports)) if ports else 0
        self._left = [*reversed(ports[:start]), *reversed(ports[start:])]
        self._given_by_kernel: set[int] = set()

    def take(self, address: str) -> int:
        """Raises OSError when the address is not this machine's, or nothing is left."""
        while self._left:
            port = self._left.pop()
            if _bound(address, port):
                return port
        for _ in range(MOST_TRIES):
            port = _bound(address, 0)
            if port not in self._given_by_kernel:
                self._given_by_kernel.add(port)
                return port
        raise OSError(errno.EADDRINUSE, f"no port is free at {address}")


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
        port = free_port(address)
        if (address, port) not in taken:
            return port


@cache
def _ports() -> FreePorts:
    outgoing = outgoing_ports()
    return FreePorts([port for port in LISTENABLE if port not in outgoing], random.Random())


def _bound(address: str, port: int) -> int:
    """The port, bound for a moment: 0 when it is in use, a free one of the kernel's for 0. Not with SO_REUSEADDR: who has it and does
    not listen yet has it all the same. Raises OSError for anything but a port in use."""
    with _socket(address) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == 0:
                raise
            return 0
        return int(probe.getsockname()[1])


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
