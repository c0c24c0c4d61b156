"""What was served of which file and to which client network, gathered for the keeper, which reports it (popularity is made from it).

Kept until the keeper has taken it, so that nothing is lost while the keeper restarts; bounded by the number of keys: beyond
that bytes are counted (`UNREPORTED`) but no longer told apart, and networks are gathered in `OTHER_NETWORKS`.

Bytes count when they were handed to the kernel. What a connection's end shows never to have arrived is taken back (`take_back`),
from this second's bytes of the file or from those that follow: what is told never falls below nought.
"""

from __future__ import annotations

from contracts.reports import OTHER_NETWORKS
from oca.link.messages import Served

MAX_KEYS = 100_000
MAX_NETWORKS = 10_000
KEYS_PER_FRAME = 2_000
_OTHER = b"p" + OTHER_NETWORKS.encode()


class Accounting:
    """One worker's ledger. Pure: `take` gives the messages that empty it."""

    def __init__(self, max_keys: int = MAX_KEYS, max_networks: int = MAX_NETWORKS) -> None:
        self._max_keys = max_keys
        self._max_networks = max_networks
        self._owed: dict[tuple[bool, str | bytes], int] = {}
        """Bytes to take back from what comes."""
        self._clear()

    def _clear(self) -> None:
        self._clients: dict[str, list[int]] = {}
        self._peers: dict[str, list[int]] = {}
        self._networks: dict[bytes, list[int]] = {}
        self._hit_requests = 0
        self._hit_bytes = 0
        self._miss_requests = 0
        self._miss_bytes = 0

    def add(self, key: str, peer: bool, sent: int, missed: int, missed_request: bool, client: bytes = b"") -> bool:
        """One ended answer: `sent` body bytes, `missed` of them asked for. False when the key found no room.

        `client` is `oca.worker.accesslog.client_of`; peers are no clients, and empty tells no network.
        """
        self._hit_bytes += sent - missed
        self._miss_bytes += missed
        if missed_request:
            self._miss_requests += 1
        else:
            self._hit_requests += 1
        if client and not peer:
            line = self._networks.get(client)
            if line is None:
                line = self._network(client)
            line[0] += 1
            line[1] += sent
        ledger = self._peers if peer else self._clients
        line = ledger.get(key)
        if line is not None:
            line[0] += 1
            line[1] += sent
            return True
        if len(ledger) >= self._max_keys:
            return False
        ledger[key] = [1, sent]
        return True

    def take_back(self, key: str, peer: bool, unsent: int, client: bytes = b"") -> None:
        """Of what was added, `unsent` bytes never arrived."""
        names: tuple[str | bytes, ...] = (key, client) if client and not peer else (key,)
        for name in names:
            if (peer, name) in self._owed or len(self._owed) < self._max_keys:
                self._owed[peer, name] = self._owed.get((peer, name), 0) + unsent

    def take(self, connections: int, shedding: str = "") -> list[Served]:
        """Everything since the last call, in frames of bounded size; the first carries the sums, all of them how the worker is."""
        self._settle()
        clients = [(key, line[0], line[1]) for key, line in self._clients.items()]
        peers = [(key, line[0], line[1]) for key, line in self._peers.items()]
        networks = self._by_name()
        sums = (self._hit_requests, self._hit_bytes, self._miss_requests, self._miss_bytes)
        self._clear()
        frames: list[Served] = []
        step = KEYS_PER_FRAME
        for start in range(0, max(len(clients), len(peers), len(networks), 1), step):
            rows = slice(start, start + step)
            own = sums if start == 0 else (0, 0, 0, 0)
            lists = (tuple(clients[rows]), tuple(peers[rows]))
            frames.append(Served(*lists, *own, connections, tuple(networks[rows]), shedding))
        return frames

    def _network(self, client: bytes) -> list[int]:
        """A new line, or that of all who found no room."""
        if len(self._networks) >= self._max_networks:
            return self._networks.setdefault(_OTHER, [0, 0])
        return self._networks.setdefault(client, [0, 0])

    def _by_name(self) -> list[tuple[str, int, int]]:
        """TLS and plain connections of a network are one."""
        found: dict[str, list[int]] = {}
        for client, line in self._networks.items():
            name = client[1:].decode("ascii", "replace")
            known = found.setdefault(name, [0, 0])
            known[0] += line[0]
            known[1] += line[1]
        return [(name, requests, sent) for name, (requests, sent) in found.items()]

    def _settle(self) -> None:
        """Take back what is owed, as far as there is something to take it from."""
        for (peer, name), owed in list(self._owed.items()):
            line: list[int] | None
            if isinstance(name, bytes):
                line = self._networks.get(name)
            else:
                line = (self._peers if peer else self._clients).get(name)
            if line is None:
                continue
            taken = min(owed, line[1])
            line[1] -= taken
            if isinstance(name, str):
                self._hit_bytes -= min(taken, self._hit_bytes)
            if taken == owed:
                del self._owed[peer, name]
            else:
                self._owed[peer, name] = owed - taken
