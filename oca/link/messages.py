"""The worker–keeper protocol (DESIGN §3.1): frames over one Unix stream socket per worker.

Laws:
- A frame is a 4-byte big-endian length followed by one msgpack value of the tagged unions below; at most 1 MiB.
- The worker opens with `Hello`; the keeper answers `Welcome`. Either side closes the connection on a malformed frame.
- A worker `Want`s blocks of one object under one deadline. The keeper answers any number of `Ready` (each names blocks that
  are whole and verified in an extent file, whether or not they are durable yet) and ends with exactly one `Done` or
  `Failed` for the request id. `Head` comes before the first `Ready` when the worker did not name a version.
- A pulled object is asked for by its service key, with `head_only`: the `Head` carries the variant that answers. Its bytes are asked for by
  the storage key and version that follow from it. NOT_STORABLE means that the worker has to pass the request on.
- A fetch goes on when the worker leaves or `Cancel`s; a `Cancel` only stops the answers.
- Everything a worker announced from `Ready` it may keep until the index shows it: announcements may run ahead of the index.
- When the keeper goes, the connection breaks: the worker reconnects and re-asks the remainder under the same version until
  its own deadline, then ends as 504 (no header sent yet) or an aborted connection.
- `Reload` tells workers that a file in the state folder changed (keys, state, certificate); they re-read it.
"""

from __future__ import annotations

from enum import Enum

import msgspec

PROTOCOL = 1
MAX_FRAME_BYTES = 1 << 20


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    worker: int
    pid: int
    protocol: int = PROTOCOL


class Want(msgspec.Struct, frozen=True, tag="want"):
    """Blocks first..last (inclusive, counted in the whole object) of `key`; `version` empty when not fixed yet.

    `first_byte_s`, `stall_s`: the worker gives up after that long without the first, or the next, `Ready`.
    """

    request: int
    key: str
    first_block: int
    last_block: int | None
    version: bytes = b""
    head_only: bool = False
    hint: bool = False
    """A prefetch hint (CMCD nor/nrr), or a pulled object that was served stale: nobody waits, may be dropped."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Of the client's request, for what is pulled through: what may go upstream, and what decides about reuse."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    request: int


class Served(msgspec.Struct, frozen=True, tag="served"):
    """Accounting since the last such message, about once a second: (key, requests, bytes) of players and of peers.

    `networks` has players again, by client network instead of key.
    """

    clients: tuple[tuple[str, int, int], ...]
    peers: tuple[tuple[str, int, int], ...]
    hit_requests: int
    hit_bytes: int
    miss_requests: int
    miss_bytes: int
    connections: int
    networks: tuple[tuple[str, int, int], ...] = ()
    shedding: str = ""
    """Why the worker takes no new sessions now (`Pressure`); empty while it does. Sent at once when it changes."""


class Unreadable(msgspec.Struct, frozen=True, tag="unreadable"):
    """An extent whose file could not be opened, or did not give what the index promises; at most one per disk and second.

    The keeper reads it itself and judges: its answer is the index, or the disk's state on the board.
    """

    disk: int
    extent_id: int


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    pid: int
    protocol: int = PROTOCOL


class Head(msgspec.Struct, frozen=True, tag="head"):
    """What is known of the object. `header_block` is the stored response header lines, each ending in CRLF."""

    request: int
    version: bytes
    size_bytes: int
    header_block: bytes
    row: bytes = b""
    """Of a pulled object in place of `header_block`: the variant that answers (`oca.store.pulled`)."""
    forwarded: str = ""
    """Why an upstream was asked for it (`oca.http.caching`); empty where none was."""
    forward_status: int = 0
    collapsed: bool = False
    """It came for another request."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Blocks first..last (inclusive, object numbering) lie verified in an extent file."""

    request: int
    disk: int
    extent_id: int
    extent_number: int
    first_block: int
    last_block: int
    version: bytes
    size_bytes: int
    mark_slot: int
    stored_epoch: int = 0
    """The purge epoch they are judged by (`oca.store.purge`)."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    request: int


class FetchFailure(Enum):
    """Why a miss could not be served: (log word, HTTP status a client gets)."""

    NOT_FOUND = ("not-found", 404)
    UPSTREAM_TIMEOUT = ("upstream-timeout", 504)
    UPSTREAM_UNREACHABLE = ("upstream-unreachable", 504)
    UPSTREAM_ERROR = ("upstream-error", 502)
    WRONG_BYTES = ("wrong-bytes", 502)
    NO_DIGESTS = ("no-digests", 502)
    NO_SPACE = ("no-space", 503)
    VERSION_CHANGED = ("version-changed", 502)
    LOOP = ("loop", 508)
    NOT_STORABLE = ("not-storable", 502)
    """The answer of a pull-through service may not be stored, or there is no room: it has to be passed on."""
    NOT_HELD = ("not-held", 504)
    """The request wants nothing from upstream (RFC 9111 §5.2.1.7)."""
    OVERLOADED = ("overloaded", 503)
    STOPPING = ("stopping", 503)

    def __init__(self, word: str, status: int) -> None:
        self.word = word
        self.status = status


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """`why` is a FetchFailure name; `sentence` goes to the log, not to clients."""

    request: int
    why: str
    sentence: str = ""


class ReloadWhat(Enum):
    KEYS = "keys"
    STATE = "state"
    PURGE = "purge"
    TLS = "tls"
    """The box was enrolled, or its certificate renewed: `tls/` in the state folder changed."""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    what: ReloadWhat


ToKeeper = Hello | Want | Cancel | Served | Unreadable
ToWorker = Welcome | Head | Ready | Done | Failed | Reload

_to_keeper: msgspec.msgpack.Decoder[ToKeeper] = msgspec.msgpack.Decoder(ToKeeper)
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_encoder = msgspec.msgpack.Encoder()


class BrokenFrame(Exception):
    """The one error that leaves the codec: the other side does not speak this protocol."""


def encode(message: ToKeeper | ToWorker) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode_to_keeper(body: bytes | memoryview) -> ToKeeper:
    try:
        return _to_keeper.decode(body)
    except msgspec.MsgspecError as error:
        raise BrokenFrame(str(error)) from error


def decode_to_worker(body: bytes | memoryview) -> ToWorker:
    try:
        return _to_worker.decode(body)
    except msgspec.MsgspecError as error:
        raise BrokenFrame(str(error)) from error


class FrameReader:
    """Cuts a byte stream into frame bodies. Raises BrokenFrame for a frame that is too long."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= 4:
            length = int.from_bytes(self._buffer[start : start + 4], "big")
            if length > MAX_FRAME_BYTES:
                raise BrokenFrame(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are allowed")
            if len(self._buffer) - start - 4 < length:
                break
            bodies.append(bytes(self._buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        del self._buffer[:start]
        return bodies
