"""Cross-origin sharing (Fetch standard): on every answer, errors too, because a player without it sees only "CORS failure".

There are no cookies here, so that `*` is right wherever the operator does not narrow it. Preflights need no token and
are cached for a day. A page of the public network may ask an appliance in a private one where the operator lets its origin
play at all (`Access-Control-Allow-Private-Network`, only when asked).
"""

from __future__ import annotations

PREFLIGHT_S = 86400
EXPOSED = b"Accept-Ranges, Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date, ETag, Last-Modified, Retry-After, Server-Timing"
ALLOWED = (
    b"CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status, Cache-Control, Content-Type, "
    b"If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Range"
)
METHODS = b"GET, HEAD, OPTIONS"


class Cors:
    """The header lines of one delivery service."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._open = b"Access-Control-Allow-Origin: *\r\n" + _COMMON + b"Timing-Allow-Origin: *\r\n"

    def lines(self, origin: bytes | None) -> bytes:
        """Header lines, each with its CRLF, for a request with this `Origin`."""
        if self._any:
            return self._open
        if origin is None or origin not in self._origins:
            return b"Vary: Origin\r\n"
        return (
            b"Vary: Origin\r\nAccess-Control-Allow-Origin: " + origin + b"\r\n" + _COMMON
            + b"Timing-Allow-Origin: " + origin + b"\r\n"
        )  # fmt: skip

    def preflight(self, origin: bytes | None, *, private: bool = False) -> bytes:
        """Header lines of the answer to OPTIONS. `private`: the request asks for a private network."""
        if not self._any and origin not in self._origins:
            return self.lines(origin)
        return self.lines(origin) + _PREFLIGHT + (_PRIVATE if private else b"")


_COMMON = b"Access-Control-Expose-Headers: " + EXPOSED + b"\r\n"
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: " + METHODS + b"\r\n"
    b"Access-Control-Allow-Headers: " + ALLOWED + b"\r\n"
    b"Access-Control-Max-Age: %d\r\n" % PREFLIGHT_S
)
_PRIVATE = b"Access-Control-Allow-Private-Network: true\r\n"
