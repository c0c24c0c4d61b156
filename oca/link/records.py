"""Access records on their way from workers to the logger: batches in frames over a pipe per worker line (`Handover.line`). Pure.

Laws:
- A frame is `MARK`, the length of its body (4 bytes, big-endian), the CRC-32 of its body (4 bytes) and the body: the slot and its
  records in msgpack. A worker writes whole frames as far as the pipe takes them; the pipe outlives the worker.
- A worker that is killed while its pipe is full leaves at most one torn frame. Its CRC fails once as many bytes are there as it
  promised (or at the end of the pipe): the reader looks for the next `MARK` behind the place where it began. What lies between is
  counted as torn, nothing of it is used. A `MARK` inside a frame (clients choose paths) means nothing before that.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

MARK = b"\xfeLOWTIDE"
HEAD_BYTES = len(MARK) + 8
MAX_BODY_BYTES = 4 << 20
HEADERS = b"CMCD:"
PIPE_BYTES = 1 << 20
"""What an unprivileged process may make of a pipe (`/proc/sys/fs/pipe-max-size`)."""

Row = tuple[bytes, float, float, bytes, int, str, bytes, bytes, str, int, int, int]
"""The fields of `Record`, in order, as a worker gathers them."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One ended answer. `client` is `oca.worker.accesslog.client_of`; instants in seconds since the epoch."""

    client: bytes
    began_at: float
    finished_at: float
    method: bytes
    status: int
    outcome: str
    """The word of `oca.http.reasons.Outcome`."""
    path: bytes
    """Without token."""
    query: bytes
    """As it came; or `HEADERS` and the values of the `CMCD-*` headers, joined by commas."""
    session: str
    first: int
    """First byte of the range asked for; -1 without one."""
    body_bytes: int
    missed_bytes: int


class Batch(msgspec.Struct, frozen=True, array_like=True):
    slot: int
    records: list[Record]


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Batch] = msgspec.msgpack.Decoder(Batch)


def encode_frame(slot: int, rows: Sequence[Row]) -> bytes:
    body = _encoder.encode((slot, rows))
    return b"".join((MARK, len(body).to_bytes(4, "big"), zlib.crc32(body).to_bytes(4, "big"), body))


class FrameCutter:
    """Cuts the bytes of one pipe into batches. `torn_bytes` counts what belonged to no whole frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.torn_bytes = 0

    def feed(self, data: bytes) -> list[Batch]:
        self._buffer += data
        return self._cut(ended=False)

    def end(self) -> list[Batch]:
        """Nothing more comes: what is left of a torn frame is looked through."""
        return self._cut(ended=True)

    def _cut(self, *, ended: bool) -> list[Batch]:
        buffer = self._buffer
        batches: list[Batch] = []
        at = 0
        while len(buffer) - at >= HEAD_BYTES:
            if not buffer.startswith(MARK, at):
                at = self._skip(at)
                continue
            length = int.from_bytes(buffer[at + 8 : at + 12], "big")
            end = at + HEAD_BYTES + length
            if length > MAX_BODY_BYTES:
                at = self._skip(at)
                continue
            if end > len(buffer):
                if not ended:
                    break
                at = self._skip(at)
                continue
            batch = _read(buffer[at + 12 : at + HEAD_BYTES], bytes(buffer[at + HEAD_BYTES : end]))
            if batch is None:
                at = self._skip(at)
                continue
            batches.append(batch)
            at = end
        if ended:
            self.torn_bytes += len(buffer) - at
            at = len(buffer)
        del buffer[:at]
        return batches

    def _skip(self, at: int) -> int:
        """Where the next frame may begin."""
        found = self._buffer.find(MARK, at + 1)
        # The last bytes may be the beginning of a mark.
        to = found if found >= 0 else max(at + 1, len(self._buffer) - len(MARK) + 1)
        self.torn_bytes += to - at
        return to


def _read(crc: bytes | bytearray, body: bytes) -> Batch | None:
    if zlib.crc32(body) != int.from_bytes(crc, "big"):
        return None
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return None
