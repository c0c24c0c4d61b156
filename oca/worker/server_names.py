"""Which host name a player asks for in its first TLS bytes, and which certificate speaks for that name. Pure.

The name is read before the handshake begins, from bytes that stay in the socket, so that every name has a context of its own. What
cannot be read is no error here: the default certificate is offered and the TLS library judges the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

HELLO_BYTES = 16 * 1024
"""No longer hello is looked at; those of today's players have 500 to 2,000 bytes."""
_RECORD_HEAD, _HANDSHAKE_HEAD = 5, 4
_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, b"\x01"
_SERVER_NAME, _HOST_NAME = 0, 0
_VERSION_AND_RANDOM = 34


class Hello(Enum):
    """What may stand in the place of a name."""

    INCOMPLETE = "incomplete"
    """More bytes are needed."""
    NAMELESS = "nameless"
    """No name is asked for, or the bytes are no hello."""


def server_name(data: bytes) -> str | Hello:
    """The host name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), in lower case. `data` is all that came so far. Never raises."""
    hello = _hello(data)
    if isinstance(hello, Hello):
        return hello
    reader = _Reader(hello)
    reader.skip(_VERSION_AND_RANDOM)
    reader.vector(1)  # session id
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    extensions = _Reader(reader.vector(2))
    while extensions.left >= 4:
        kind = extensions.number(2)
        body = extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_of(_Reader(_Reader(body).vector(2)))
    return Hello.NAMELESS


def _hello(data: bytes) -> bytes | Hello:
    """The body of the ClientHello, which may be spread over several records (RFC 8446 §5.1)."""
    message, at = b"", 0
    while True:
        head = data[at : at + _RECORD_HEAD]
        if head and head[0] != _HANDSHAKE_RECORD:
            return Hello.NAMELESS
        if len(head) < _RECORD_HEAD:
            return Hello.INCOMPLETE
        length = int.from_bytes(head[3:], "big")
        message += data[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        at += _RECORD_HEAD + length
        if not length or message[:1] not in (b"", _CLIENT_HELLO):
            return Hello.NAMELESS
        if len(message) >= _HANDSHAKE_HEAD:
            end = _HANDSHAKE_HEAD + int.from_bytes(message[1:4], "big")
            if end > HELLO_BYTES:
                return Hello.NAMELESS
            if len(message) >= end:
                return message[_HANDSHAKE_HEAD:end]
        if at > len(data):
            return Hello.INCOMPLETE


def _host_of(names: _Reader) -> str | Hello:
    while names.left >= 3:
        kind = names.number(1)
        name = names.vector(2)
        if kind == _HOST_NAME and name.isascii():
            return name.decode("ascii").lower().rstrip(".") or Hello.NAMELESS
    return Hello.NAMELESS


class _Reader:
    """Length-prefixed vectors (RFC 8446 §3.4); past the end there are zeros and nothing."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def skip(self, count: int) -> None:
        self._at = min(self._at + count, len(self._data))

    def number(self, size: int) -> int:
        found = int.from_bytes(self._data[self._at : self._at + size], "big")
        self.skip(size)
        return found

    def vector(self, size: int) -> bytes:
        length = self.number(size)
        found = self._data[self._at : self._at + length]
        self.skip(length)
        return found


class NameTable:
    """Which certificate speaks for a name. The first is for every name that none of them carries."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self._exact: dict[str, int] = {}
        for number, group in enumerate(names):
            for name in group:
                self._exact.setdefault(name.lower().rstrip("."), number)

    def find(self, name: str | Hello) -> int:
        """The certificate's number. A wildcard stands for one whole label at the left (RFC 9525 §6.3); the exact name comes first."""
        if isinstance(name, Hello):
            return 0
        found = self._exact.get(name)
        if found is None:
            label, _, rest = name.partition(".")
            found = self._exact.get(f"*.{rest}", 0) if label and rest else 0
        return found
