"""Content steering as a player follows it: which pathway now, and when to ask again. Pure; `now` and answers come in.

Laws: an order names every address it was given; an answer that cannot be had or read changes nothing but when to ask again; after 410
nobody is asked again, after 429 not before `Retry-After`, after any other failure not before the last TTL (five minutes when there was
none) (RFC 8216bis §7); clones stay known to the end of the play. A host that failed stands last for PENALTY_S, in whatever pathway: the rule of
Shaka Player. hls.js leaves the pathway for 300 s, dash.js for the answer's TTL. What a play reports of throughput is per pathway used since the last question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlencode, urljoin, urlsplit

from player.adaptation import Throughput
from player.guidance import DEFAULT_TTL_S, BadGuidance, Clone, Guidance, read, with_clones
from player.presentation import Address, Dialect, SteeringTag

PENALTY_S = 60.0


class Heard(Enum):
    """What came of a question (log word = value)."""

    STEERED = "steered"
    GONE = "gone"
    TOO_MANY = "too-many-requests"
    FAILED = "not-answered"
    UNREADABLE = "not-readable"


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 where nobody spoke; `url` is the address after redirections; `retry_after_s` None where nothing was said."""

    status: int
    url: str
    body: bytes = b""
    retry_after_s: float | None = None


class Steering:
    """One play's dealings with its steering server. Orders addresses by `player.fetching.Places`."""

    def __init__(self, tag: SteeringTag, now: float) -> None:
        self._dialect = tag.dialect
        self._address = tag.server_uri
        self._priority: tuple[str, ...] = (tag.pathway,) if tag.pathway else ()
        self._clones: dict[str, Clone] = {}
        self._penalised_until: dict[str, float] = {}
        self._rates: dict[str, Throughput] = {}
        self._used: list[str] = []
        self._ttl_s = DEFAULT_TTL_S
        self.due_at = now
        """When to ask next, infinity for never again."""

    def question(self) -> str:
        """The address to ask, with what was used since the last question and how fast it was (bit/s)."""
        used, self._used = self._used, self._used[-1:]
        told = self._told(used)
        if not told:
            return self._address
        parts = urlsplit(self._address)
        return parts._replace(query="&".join(filter(None, (parts.query, urlencode(told))))).geturl()

    def heard(self, answer: Answer, now: float) -> Heard:
        """Takes an answer in; afterwards `due_at` says when to ask next."""
        if answer.status == 410:
            self.due_at = math.inf
            return Heard.GONE
        if answer.status == 429:
            self.due_at = now + (self._ttl_s if answer.retry_after_s is None else max(answer.retry_after_s, 0.0))
            return Heard.TOO_MANY
        self.due_at = now + self._ttl_s
        if answer.status != 200:
            return Heard.FAILED
        try:
            guidance = read(answer.body)
            reload_uri = _absolute(answer.url, guidance.reload_uri)
        except BadGuidance:
            return Heard.UNREADABLE
        self._follow(guidance, now)
        self._address = reload_uri or self._address
        return Heard.STEERED

    def order(self, addresses: Sequence[Address], now: float) -> tuple[Address, ...]:
        """All addresses and their clones, best first, each URL once; the ones that failed lately last."""
        return _distinct(
            sorted(self.preferred(addresses), key=lambda address: self._penalised_until.get(_host(address), 0.0) > now)
        )

    def preferred(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """As the server wants it, whatever failed. Pathways that it does not name follow in the manifest's order."""
        rank = {pathway: place for place, pathway in enumerate(self._priority)}
        known = with_clones(addresses, self._clones.values())
        return tuple(sorted(known, key=lambda address: rank.get(address.location, len(rank))))

    def failed(self, address: Address, now: float) -> None:
        self._penalised_until[_host(address)] = now + PENALTY_S

    def served(self, address: Address, size_bytes: int, took_s: float) -> None:
        """Bytes came from there, in so many seconds."""
        location = address.location
        if not location:
            return
        self._rates[location] = self._rates.get(location, Throughput()).with_download(size_bytes, took_s)
        self._used = [*(other for other in self._used if other != location), location]

    def _follow(self, guidance: Guidance, now: float) -> None:
        self._priority = guidance.priority
        self._ttl_s = guidance.ttl_s
        self.due_at = now + guidance.ttl_s
        for clone in guidance.clones:
            self._clones.setdefault(clone.id, clone)

    def _told(self, used: Sequence[str]) -> list[tuple[str, str]]:
        """HLS reports the pathway it is on, DASH a quoted list of those in use with a list of rates beside it."""
        if not used:
            return []
        if self._dialect is Dialect.HLS:
            used = used[-1:]
        pathway, throughput = self._dialect.pathway, self._dialect.throughput
        names = ",".join(used)
        rates = ",".join(str(round(self._rates[location].bps)) for location in used)
        return [(pathway, names if self._dialect is Dialect.HLS else f'"{names}"'), (throughput, rates)]


def _absolute(base: str, reference: str) -> str:
    """Raises BadGuidance for what is no address of HTTP."""
    if not reference:
        return ""
    try:
        url = urljoin(base, reference)
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise BadGuidance(f"RELOAD-URI {reference!r} is no address") from error
    if scheme not in ("http", "https"):
        raise BadGuidance(f"RELOAD-URI {reference!r} is no address of HTTP")
    return url


def _host(address: Address) -> str:
    return urlsplit(address.url).netloc


def _distinct(addresses: Sequence[Address]) -> tuple[Address, ...]:
    found: dict[str, Address] = {}
    for address in addresses:
        found.setdefault(address.url, address)
    return tuple(found.values())
