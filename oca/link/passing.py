"""What passes between worker and keeper without being stored: one Unix stream socket per exchange, and what is said on it (DESIGN §3.2).

Laws:
- The worker makes the pair of sockets, keeps one end and hands the other over (`oca.link.handing`). Then it says one `Ask`, sends the
  request's body where there is one, and `End`. The keeper says any number of `Interim`, one `Answer`, the body, and `End`; or `Refused`
  instead of anything that is still to come.
- A frame is a byte for its kind, a 4-byte big-endian length and so many bytes: a msgpack value of the tagged unions below (at most
  `MAX_SAID_BYTES`), or a piece of a body.
- A stream that ends before `End` or `Refused` is cut off: what came is not the whole. Either side closes its end when it wants no
  more, or dies; the other side then ends the exchange. Nothing of an exchange outlives its stream.
- A side that cannot pass a piece on stops reading. What is in flight each way is what the sockets hold (`SOCKET_BYTES`, which the
  kernel doubles) and a few pieces in each process: below 1 MiB.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from oca.link.messages import BrokenFrame

SOCKET_BYTES = 128 << 10
PIECE_BYTES = 64 << 10
"""A body is read, framed and sent in pieces of at most so many bytes."""
MAX_SAID_BYTES = 256 << 10
"""A header of the longest kind that either side takes, twice over."""
_HEAD = struct.Struct(">BI")
_SAID, _DATA = 0, 1

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in their order, repeated ones one by one."""


class Span(msgspec.Struct, frozen=True, tag="span"):
    """Verified bytes first … last (inclusive) of a published object that there is no room to store. The `Answer` has their number."""

    key: str
    version: bytes
    first: int
    last: int


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    """A request for the upstream of the delivery service `service`. Fields are end to end (`oca.http.forwarding`)."""

    service: str
    method: bytes
    target: bytes
    """Path and query in origin form."""
    fields: Fields
    length: int | None = 0
    """Of the body that follows; None where only its end will tell."""
    waits: bool = False
    """The client sends its body when it is told to go on (RFC 9110 §10.1.1): so does the upstream decide, by `Interim(100)`."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """The body is complete."""


class Interim(msgspec.Struct, frozen=True, tag="interim"):
    """An informational answer (RFC 9110 §15.2)."""

    status: int
    fields: Fields = ()


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The final answer's header. `length` None: only the end will tell."""

    status: int
    fields: Fields
    length: int | None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The exchange ends here. `why` is a `FetchFailure` name; `sentence` goes to the log, not to clients."""

    why: str
    sentence: str = ""


Ask = Span | Forward
OfWorker = Ask | End
OfKeeper = Interim | Answer | End | Refused

_of_worker: msgspec.msgpack.Decoder[OfWorker] = msgspec.msgpack.Decoder(OfWorker)
_of_keeper: msgspec.msgpack.Decoder[OfKeeper] = msgspec.msgpack.Decoder(OfKeeper)
_encoder = msgspec.msgpack.Encoder()
_Said = TypeVar("_Said")


class PassEnd(Enum):
    """How an exchange that passed through ended (log word): the label of `lowtide_keeper_passed_exchanges_total`."""

    DONE = "done"
    REFUSED = "refused"
    """The worker was told why there is no answer."""
    CUT = "cut"
    """The upstream ended before the body did."""
    LEFT = "left"
    """The client or the worker left."""
    OVERLOADED = "overloaded"
    """As many as may be were under way."""
    BROKEN = "broken"
    """The other side does not speak this protocol."""
    STOPPED = "stopped"
    DIED = "died"


def say(message: OfWorker | OfKeeper) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _HEAD.pack(_SAID, len(body)) + body


def head_of_data(length: int) -> bytes:
    """What goes before a piece of a body."""
    return _HEAD.pack(_DATA, length)


class Cutter(Generic[_Said]):
    """Cuts one direction of a stream into pieces of the body and messages. Holds no more than an unfinished message."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[_Said]) -> None:
        self._decoder = decoder
        self._begun = bytearray()
        self._data_left = 0

    def feed(self, data: bytes) -> list[bytes | _Said]:
        """What these bytes complete, in order; data comes as it came, whole frames or not. Raises BrokenFrame."""
        found: list[bytes | _Said] = []
        at = 0
        while at < len(data):
            if self._data_left:
                piece = data[at : at + self._data_left]
                self._data_left -= len(piece)
                at += len(piece)
                found.append(piece)
            else:
                at = self._begin(data, at, found)
        return found

    def _begin(self, data: bytes, at: int, found: list[bytes | _Said]) -> int:
        """A frame's head, or more of a message."""
        begun = self._begun
        wanted = _HEAD.size if len(begun) < _HEAD.size else _HEAD.size + self._length()
        piece = data[at : at + wanted - len(begun)]
        begun += piece
        if len(begun) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(begun)
            if kind == _DATA:
                begun.clear()
                self._data_left = length
            elif kind != _SAID or length > MAX_SAID_BYTES:
                raise BrokenFrame(f"a frame of kind {kind} with {length} bytes")
            elif len(begun) == _HEAD.size + length:
                found.append(self._decode(bytes(begun[_HEAD.size :])))
                begun.clear()
        return at + len(piece)

    def _length(self) -> int:
        return int(_HEAD.unpack_from(self._begun)[1])

    def _decode(self, body: bytes) -> _Said:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise BrokenFrame(str(error)) from error


def cutter_of_worker() -> Cutter[OfWorker]:
    """Reads what a worker sends."""
    return Cutter(_of_worker)


def cutter_of_keeper() -> Cutter[OfKeeper]:
    """Reads what the keeper sends."""
    return Cutter(_of_keeper)
