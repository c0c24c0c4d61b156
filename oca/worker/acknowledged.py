"""Which bytes of a connection's answers never arrived. Pure.

Theory: a TCP connection carries one stream, in order. Of what was written, the kernel knows how much the other side has acknowledged
(`tcpi_bytes_acked`, RFC 4898): the difference at the connection's end is missing from the stream's end, so that it belongs to the last
answers, from the last byte backwards. Bytes in flight that arrive and whose acknowledgement does not are counted as missing: it is
what a sender can know.

Laws:
- Only an end that the other side made, or a reset, says anything: after an orderly close by us the kernel goes on sending what it holds.
- An answer is charged for at most its own body; header bytes are nobody's.
- Over TLS the stream is longer than what was written into it (records, handshake), so that acknowledged bytes cannot be compared with
  it; there, what still lies in the socket (`SIOCOUTQ`) and in the transport is what is missing.
- More acknowledged than counted happens: of a window on its way the kernel took a part that nobody has counted yet. It is given to the
  answer that was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

REMEMBERED = 16
"""At least so many answers are remembered; those before are believed to have arrived."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """`missing` body bytes of `key` never arrived; negative: so many more than were counted did."""

    key: str
    missing: int


class Stream:
    """One connection's writing side. `wire` is every byte handed over, headers included; the connection adds to it."""

    __slots__ = ("_answers", "wire")

    def __init__(self) -> None:
        self.wire = 0
        self._answers: list[tuple[str, int, int]] = []

    def answered(self, key: str, body: int, length: int) -> None:
        """An answer, whole or cut: `body` bytes of `key` were counted, `length` bytes with its header; key empty when nobody is charged."""
        self.wire += length
        answers = self._answers
        answers.append((key, body, length))
        if len(answers) > 2 * REMEMBERED:  # a bounded deque would cost every idle connection 0.7 KiB
            del answers[:REMEMBERED]

    def missing(self, acknowledged: int) -> list[Shortfall]:
        """At the end of a plain connection: what never arrived, by answer, the last one first."""
        gap = self.wire - acknowledged
        if gap >= 0:
            return self.missing_last(gap)
        key, body, _ = self._answers[-1] if self._answers else ("", 0, 0)
        return [Shortfall(key, gap)] if key and body else []

    def missing_last(self, gap: int) -> list[Shortfall]:
        """The same when it is known that the last `gap` bytes of the stream never arrived."""
        found: list[Shortfall] = []
        for key, body, length in reversed(self._answers):
            if gap <= 0:
                break
            lost = min(gap, body)  # the body is the end of an answer
            if lost and key:
                found.append(Shortfall(key, lost))
            gap -= length
        return found
