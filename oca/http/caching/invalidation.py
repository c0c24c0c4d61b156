"""What an answer to an unsafe request makes useless (RFC 9111 §4.4).

A method is safe when the registry says so (RFC 9110 §16.1); one that nobody knows is not.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from oca.http.caching.fields import Fields

SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PROPFIND", b"REPORT", b"SEARCH", b"TRACE"))
_NAMING = (b"location", b"content-location")
_BASE = "http://target"


def invalidated(
    method: bytes, status: int, target: bytes, fields: Fields, hosts: frozenset[bytes]
) -> tuple[bytes, ...]:
    """Paths with queries whose stored responses are to be validated or dropped, the target's first; empty for safe methods and for errors.

    `target` is the request's path and query, `hosts` every spelling (lower case, with port) of what selects the same delivery service: `Location` and
    `Content-Location` on other hosts name what is not ours to judge. Scheme and fragment make no difference, since both schemes share one key.
    """
    if method in SAFE or not 200 <= status <= 399:
        return ()
    found = {target: None}
    for name, value in fields:
        if name in _NAMING and (path := _same_origin(target, value, hosts)) is not None:
            found[path] = None
    return tuple(found)


def _same_origin(target: bytes, reference: bytes, hosts: frozenset[bytes]) -> bytes | None:
    """Path and query of a URI reference (RFC 3986 §5), None when it is another host's, or none at all."""
    try:
        url = urlsplit(urljoin(_BASE + target.decode("latin-1"), reference.decode("latin-1")))
    except ValueError:
        return None
    authority = url.netloc.lower().encode("latin-1")
    if url.scheme not in ("http", "https") or (authority != b"target" and authority not in hosts):
        return None
    path = url.path or "/"
    return (f"{path}?{url.query}" if url.query else path).encode("latin-1")
