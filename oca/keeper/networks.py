"""Bytes by client network and hour until a report carries them, bounded. Pure.

Laws: of an hour at most `MAX_NETWORKS` networks are told apart, those with most bytes so far; the others are `OTHER_NETWORKS`. A sum is never
lost: when there are too many hours (the control plane is away), the oldest hours become one row each.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.reports import OTHER_NETWORKS, NetworkTraffic

HOUR_S = 3600
MAX_NETWORKS = 1_000
MAX_HOURS = 168
MAX_ROWS_A_REPORT = 5_000


class Networks:
    """`rows` are what an earlier keeper could not deliver."""

    def __init__(
        self, rows: Iterable[NetworkTraffic] = (), max_networks: int = MAX_NETWORKS, max_hours: int = MAX_HOURS
    ) -> None:
        self._max_networks = max_networks
        self._max_hours = max_hours
        self._hours: dict[int, dict[str, list[int]]] = {}
        for row in rows:
            self._add(row.hour, row.network, row.requests, row.served_bytes)

    def add(self, network: str, now: float, requests: int, served_bytes: int) -> None:
        self._add(int(now) - int(now) % HOUR_S, network, requests, served_bytes)

    def take_rows(self) -> tuple[NetworkTraffic, ...]:
        """The oldest hours, as many as a report takes; they leave."""
        found: list[NetworkTraffic] = []
        for hour in sorted(self._hours):
            if found and len(found) + len(self._hours[hour]) > MAX_ROWS_A_REPORT:
                break
            table = self._hours.pop(hour)
            _shrink(table, self._max_networks)
            found += _rows(hour, table)
        return tuple(found)

    def rows(self) -> tuple[NetworkTraffic, ...]:
        """All of it, for the spool."""
        return tuple(row for hour, table in self._hours.items() for row in _rows(hour, table))

    def _add(self, hour: int, network: str, requests: int, served_bytes: int) -> None:
        table = self._hours.setdefault(hour, {})
        line = table.setdefault(network, [0, 0])
        line[0] += requests
        line[1] += served_bytes
        if len(table) > 2 * self._max_networks:  # not at every new one: shrinking looks at all
            _shrink(table, self._max_networks)
        if len(self._hours) > self._max_hours:
            for old in sorted(self._hours)[: -self._max_hours]:
                _shrink(self._hours[old], 0)


def _shrink(table: dict[str, list[int]], most: int) -> None:
    names = sorted((name for name in table if name != OTHER_NETWORKS), key=lambda name: table[name][1], reverse=True)
    for name in names[most:]:
        requests, served = table.pop(name)
        other = table.setdefault(OTHER_NETWORKS, [0, 0])
        other[0] += requests
        other[1] += served


def _rows(hour: int, table: dict[str, list[int]]) -> list[NetworkTraffic]:
    return [NetworkTraffic(network, hour, requests, served) for network, (requests, served) in table.items()]
