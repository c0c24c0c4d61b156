"""Which addresses of a box players are told. Pure.

In the zone of the control plane a box is known by its own name only, and only while that name is published and its certificate is good: a
box may report what it likes. Addresses outside the zone (by IP address, or with certificates of the operator's own) pass as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class PublicName:
    """What the record knows of a box's name. `families` are the IP versions it is published for."""

    zone: str
    host: str = ""
    usable: bool = False
    families: tuple[int, ...] = ()


def told_urls(reported: Iterable[str], name: PublicName | None) -> tuple[str, ...]:
    """The reported URLs that are told; all of them where no zone is managed (`name` None)."""
    if name is None:
        return tuple(reported)
    return tuple(url for url in reported if _is_told(url, name))


def told_families(urls: Iterable[str], name: PublicName | None) -> tuple[int, ...]:
    """The IP versions in which the box's name is reached; empty (both) where it is not among the URLs."""
    if name is None or not name.host:
        return ()
    return name.families if any(urlsplit(url).hostname == name.host for url in urls) else ()


def _is_told(url: str, name: PublicName) -> bool:
    host = urlsplit(url).hostname or ""
    if host == name.host and name.host:
        return name.usable
    return not (host == name.zone or host.endswith(f".{name.zone}"))
