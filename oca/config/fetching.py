"""Where bytes come from: how sources are asked, and the delivery services that are pulled through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from oca.config.addresses import is_base_url

_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NEVER_PASSED = frozenset(
    (
        "cdn-loop", "connection", "content-length", "expect", "host", "if-range", "keep-alive", "range", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    )
)  # fmt: skip
"""Fields that belong to one connection, or that are made anew for each upstream."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How the keeper asks peers, tiers and the origin."""

    connect_s: Annotated[float, Gt(0), Doc("Time to connect to a source before the next one is asked")] = 1.0
    first_byte_s: Annotated[
        float, Gt(0), Doc("Time a source has to begin its answer, connecting included; the last one has stall_s")
    ] = 2.0
    stall_s: Annotated[float, Gt(0), Doc("Silence between bytes after which a source is given up")] = 5.0
    request_s: Annotated[
        float,
        Gt(0),
        Doc("Time one request to a source may take in all, however steadily it sends; what is left is asked for again"),
    ] = 30.0
    hedge_s: Annotated[
        float,
        Ge(0),
        Doc(
            "Least time without a first byte after which a second source is asked beside the first, for clients; 0 asks none"
        ),
    ] = 0.25
    hedge_far_s: Annotated[
        float,
        Ge(0),
        Doc(
            "Least time without a first byte of a peer of the same site after which a source outside it is asked beside the peer, for clients: its bytes cross the border"
        ),
    ] = 1.0
    retry_share: Annotated[
        float,
        Ge(0),
        Doc("Further requests (after failures, and hedges) per request that sources get at most, besides 2 a second"),
    ] = 0.2
    client_fetches: Annotated[int, Ge(1), Doc("Fetches for clients at once per source")] = 16
    fill_fetches: Annotated[int, Ge(1), Doc("Fetches for fill orders at once per source")] = 4
    prefetches: Annotated[int, Ge(0), Doc("Prefetch hints followed at once; 0 follows none")] = 2
    fill_orders: Annotated[int, Ge(1), Doc("Fill orders worked on at once")] = 3
    passing: Annotated[
        int,
        Ge(1),
        Doc("Exchanges that pass through at once without being stored, each with up to 1 MiB in flight each way"),
    ] = 256


@dataclass(frozen=True, slots=True)
class PullService:
    """A delivery service whose objects come from an HTTP upstream under RFC 9111 (docs/pull-through.md)."""

    name: Annotated[str, Doc("Name in keys, logs and metrics: lower case, digits, hyphens, at most 32; not vod")]
    hosts: Annotated[tuple[str, ...], Doc("Host names (with port) that select this service, disjoint from all others")]
    upstreams: Annotated[
        tuple[str, ...],
        Doc("Base URLs in the order they are asked; what they share is the resource, each has all of it"),
    ]
    query_parameters: Annotated[
        tuple[str, ...],
        Doc("Query parameters that are part of the key and go upstream; * for all. CMCD never does"),
    ] = ("*",)
    request_fields: Annotated[
        tuple[str, ...],
        Doc(
            "Request header fields that go upstream with what may be stored; one that changes answers has to be in Vary"
        ),
    ] = ("accept", "accept-encoding", "accept-language", "authorization")
    max_object_bytes: Annotated[int, Ge(0), Doc("A longer answer is passed on and not stored")] = 64 << 30
    max_unsized_bytes: Annotated[
        int,
        Ge(0),
        Le(64 << 20),
        Doc("An answer that does not say its length is held in memory up to here, then passed on and not stored"),
    ] = 4 << 20
    max_request_bytes: Annotated[
        int, Ge(0), Doc("Longest body of a request that is forwarded; a longer one is 413")
    ] = 1 << 30
    negative_ttl_s: Annotated[
        float,
        Ge(0),
        Le(3600),
        Doc("How long 404, 405, 410 and 414 are fresh where they do not say; 0 stores none such"),
    ] = 5.0
    server_error_ttl_s: Annotated[
        float,
        Ge(0),
        Le(60),
        Doc(
            "How long 500, 502, 503 and 504 are answered again where they do not say; 0 stores none such, as RFC 9111 §3 wants"
        ),
    ] = 0.0
    heuristic_ceiling_s: Annotated[
        float, Ge(0), Doc("Longest freshness guessed from Last-Modified (a tenth of its age); 0 guesses none")
    ] = 86_400.0
    stale_while_revalidate_s: Annotated[
        float, Ge(0), Doc("As if each answer said it, where it does not: stale at once, fetched behind it")
    ] = 0.0
    stale_if_error_s: Annotated[
        float, Ge(0), Doc("As if each answer said it, where it does not: stale while no upstream gives an answer")
    ] = 0.0

    def __post_init__(self) -> None:
        """A name that keys can carry, hosts and base URLs that are some."""
        if _SERVICE_NAME.fullmatch(self.name) is None or self.name == "vod":
            raise ValueError(f"name: {self.name!r} is none; lower case letters, digits and hyphens, and not vod")
        for host in self.hosts:
            if _HOST.fullmatch(host) is None:
                raise ValueError(f"hosts: {host!r} is no host name")
        for field_name in self.request_fields:
            if _FIELD_NAME.fullmatch(field_name) is None or field_name.lower() in _NEVER_PASSED:
                raise ValueError(f"request_fields: {field_name!r} cannot be passed on")
        if not self.hosts or not self.upstreams:
            raise ValueError("hosts, upstreams: at least one of each is needed")
        for url in self.upstreams:
            if not is_base_url(url):
                raise ValueError(f"upstreams: {url!r} is no http or https URL without query and user")
