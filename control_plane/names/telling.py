"""Which addresses of a box players are told. Pure.

In the zone of the control plane a box is known by its own name only, and only while that name is published and its certificate is good: a
box may report what it likes. Addresses outside the zone (by IP address, or with certificates of the operator's own) pass as they are.

A URL that players could read otherwise than this module is told to nobody (`contracts.hosts`): a browser would find another box's name
where none is seen here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from contracts.hosts import wrong_in_url

MOST_URLS = 16
"""Of one box: a scheme, a family and a name each, with room."""
MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PublicName:
    """What the record knows of a box's name. `families` are the IP versions it is published for."""

    zone: str
    host: str = ""
    usable: bool = False
    families: tuple[int, ...] = ()


def told_urls(reported: Iterable[str], name: PublicName | None) -> tuple[str, ...]:
    """The reported URLs that are told; where no zone is managed (`name` None), all that can be read."""
    return tuple(url for url in reported if not wrong_in_url(url) and (name is None or _is_told(url, name)))


def told_families(urls: Iterable[str], name: PublicName | None) -> tuple[int, ...]:
    """The IP versions in which the box's name is reached; empty (both) where it is not among the URLs."""
    if name is None or not name.host:
        return ()
    return name.families if any(not wrong_in_url(url) and urlsplit(url).hostname == name.host for url in urls) else ()


def wrong_urls(reported: tuple[str, ...]) -> tuple[str, ...]:
    """One line for each reported URL that players could not dial, or for too many of them."""
    if len(reported) > MOST_URLS:
        return (f"player_urls: at most {MOST_URLS}, not {len(reported)}",)
    found = ((url, wrong_in_url(url)) for url in reported)
    return tuple(f"player_urls: {url[:MOST_SHOWN]!a} {wrong}" for url, wrong in found if wrong)


def _is_told(url: str, name: PublicName) -> bool:
    host = urlsplit(url).hostname or ""
    if host == name.host and name.host:
        return name.usable
    return not (host == name.zone or host.endswith(f".{name.zone}"))
