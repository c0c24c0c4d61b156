"""One route against its source's policy: taken, or refused with a reason (DESIGN §5).

The first reason stands, in this order: no prefix; a default route; a reserved network; too long; outside of the allow-list;
RPKI-invalid. What the allow-list names (that very prefix, or a range inside a reserved network around it) passes default, reserved
and length: an operator who wrote `10.0.0.0/8` into the list of a lab's session meant it. `0.0.0.0/0` names the default
route, and has every ordinary prefix in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.routes import Route, RoutePolicy, RouteRefusal
from control_plane.routes.reserved import Network, is_inside_reserved, reserved
from control_plane.routes.roas import Roas, Validity


class PolicyError(ValueError):
    """A policy makes no sense: one line for everything that is wrong with it."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Refused:
    refusal: RouteRefusal
    sentence: str


class Gate:
    """A policy made ready to judge many routes."""

    def __init__(self, policy: RoutePolicy, roas: Roas | None) -> None:
        """Raises PolicyError."""
        self.policy = policy
        self._roas = roas
        self._ranges = ranges_of(policy)
        self._allowed_as = frozenset(policy.allow_as)

    def judge(self, route: Route) -> Network | Refused:
        """The network of a route that is taken, or why it is not."""
        try:
            network = ipaddress.ip_network(route.cidr)
        except ValueError as error:
            return Refused(RouteRefusal.MALFORMED, f"{error}")
        if "%" in route.cidr:
            return Refused(RouteRefusal.MALFORMED, f"{route.cidr!r} has a zone")
        around = [range_ for range_ in self._ranges[network.version] if _within(network, range_)]
        if network not in around and not any(is_inside_reserved(range_) for range_ in around):
            unnamed = self._unnamed(network)
            if unnamed is not None:
                return unnamed
        return self._foreign(network, route.origin_as, is_within=bool(around)) or network

    def _unnamed(self, network: Network) -> Refused | None:
        """What only a name on the allow-list lets through."""
        if network.prefixlen == 0:
            return Refused(
                RouteRefusal.DEFAULT, "a default route would attract everybody; the allow-list does not name it"
            )
        what = reserved(network)
        if what is not None:
            return Refused(RouteRefusal.RESERVED, f"{what}; the allow-list does not name it")
        longest = self.policy.longest_v4 if network.version == 4 else self.policy.longest_v6
        if network.prefixlen > longest:
            said = f"/{network.prefixlen} is longer than /{longest}, the longest that this source may announce"
            return Refused(RouteRefusal.TOO_LONG, said)
        return None

    def _foreign(self, network: Network, origin_as: int | None, *, is_within: bool) -> Refused | None:
        """Whether it is somebody else's."""
        if not is_within and origin_as not in self._allowed_as:
            by = f", and AS {origin_as} is not among its origins" if origin_as is not None else ""
            return Refused(RouteRefusal.NOT_ALLOWED, f"no range of this source's allow-list has it{by}")
        if self._roas is not None and self._roas.validity(network, origin_as) is Validity.INVALID:
            named = f"AS {origin_as}" if origin_as is not None else "a route without an origin"
            return Refused(RouteRefusal.RPKI_INVALID, f"the RPKI lets others, not {named}, originate it in this length")
        return None


def ranges_of(policy: RoutePolicy) -> Mapping[int, tuple[Network, ...]]:
    """The allow-list by IP version. Raises PolicyError."""
    found: dict[int, list[Network]] = {4: [], 6: []}
    wrong: list[str] = []
    for number, text in enumerate(policy.allow):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            wrong.append(f"allow[{number}]: {error}")
        else:
            found[network.version].append(network)
    wrong += [f"allow_as[{n}]: {a} is no number of an AS" for n, a in enumerate(policy.allow_as) if not 0 < a < 1 << 32]
    if wrong:
        raise PolicyError(tuple(wrong))
    return {version: tuple(its) for version, its in found.items()}


@dataclass(frozen=True, slots=True)
class Judged:
    """Routes by the name they were given: those that are taken, and why others are not."""

    taken: Mapping[str, Route]
    refused: Mapping[str, Refused]


def judge_all(gate: Gate, routes: Mapping[str, Route]) -> Judged:
    """Every route keeps its name (`sessions.canonical`)."""
    taken: dict[str, Route] = {}
    refused: dict[str, Refused] = {}
    for name, route in routes.items():
        found = gate.judge(route)
        if isinstance(found, Refused):
            refused[name] = found
        else:
            taken[name] = route
    return Judged(taken, refused)


def _within(network: Network, range_: Network) -> bool:
    """True when the network lies in the range; both are of one version."""
    shift = network.max_prefixlen - range_.prefixlen
    same = int(network.network_address) >> shift == int(range_.network_address) >> shift
    return network.prefixlen >= range_.prefixlen and same
