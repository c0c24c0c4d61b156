"""The few boxes of an ISO base media file that addressing by range needs (ISO/IEC 14496-12). Pure.

A packaged rendition is `ftyp moov sidx (moof mdat)+`: everything before `sidx` starts a decoder, `sidx` says where each
segment lies, and the segments follow it without a gap until the end of the file. Anything else is a BoxError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from contracts.catalogue import Segment

HEADER = struct.Struct(">I4s")
LARGE = struct.Struct(">Q")
_SAP_START = 0x80000000
_SIZE_MASK = 0x7FFFFFFF
_TYPE_MASK = 0x80000000


class BoxError(Exception):
    """The bytes are not a single-segment-index CMAF file; the message says where they differ."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box at `offset` with its header; its payload starts at `offset + header`."""

    kind: str
    offset: int
    header: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Where things lie. Ranges are inclusive (first, last) as DASH writes them."""

    init_range: tuple[int, int]
    index_range: tuple[int, int]
    segments: tuple[Segment, ...]
    timescale: int
    ticks: tuple[int, ...]
    """Length of each segment in units of 1 / timescale, exactly."""
    starts_with_keyframe: tuple[bool, ...]

    @property
    def duration_s(self) -> float:
        return sum(self.ticks) / self.timescale


def read_box(data: bytes, offset: int) -> Box:
    """The box whose header is at `offset`. Raises BoxError when the header is cut off or absurd."""
    if offset + HEADER.size > len(data):
        raise BoxError(f"no box header at byte {offset}")
    size, kind = HEADER.unpack_from(data, offset)
    header = HEADER.size
    if size == 1:
        if offset + header + LARGE.size > len(data):
            raise BoxError(f"the box at byte {offset} has no size")
        size = LARGE.unpack_from(data, offset + header)[0]
        header += LARGE.size
    if size < header:
        raise BoxError(f"the box at byte {offset} claims {size} bytes")
    return Box(kind.decode("latin-1"), offset, header, size)


def read_index(head: bytes, file_size: int) -> SegmentIndex:
    """The index of a rendition from its first bytes, which must reach past `sidx`.

    Raises BoxError when there is no `sidx`, when it refers to another index, or when its segments do not fill the file.
    """
    box = read_box(head, 0)
    while box.kind != "sidx":
        if box.kind == "moof":
            raise BoxError("there is no segment index (sidx) before the first segment")
        box = read_box(head, box.end)
    if box.end > len(head):
        raise BoxError("the segment index (sidx) is cut off")
    timescale, start, references = _sidx(head[box.offset + box.header : box.end])
    segments: list[Segment] = []
    at = box.end + start
    for length, ticks, _ in references:
        segments.append(Segment(at, length, ticks / timescale))
        at += length
    if at != file_size:
        raise BoxError(f"the segments end at byte {at}, the file at {file_size}")
    return SegmentIndex(
        init_range=(0, box.offset - 1),
        index_range=(box.offset, box.end - 1),
        segments=tuple(segments),
        timescale=timescale,
        ticks=tuple(ticks for _, ticks, _ in references),
        starts_with_keyframe=tuple(starts for _, _, starts in references),
    )


def _sidx(payload: bytes) -> tuple[int, int, tuple[tuple[int, int, bool], ...]]:
    """(timescale, first offset, (bytes, ticks, starts with a keyframe) per segment); ISO/IEC 14496-12 §8.16.3."""
    try:
        version = payload[0]
        timescale = struct.unpack_from(">I", payload, 8)[0]
        offset, after = (">I", 20) if version == 0 else (">Q", 28)
        first = struct.unpack_from(offset, payload, 16 if version == 0 else 20)[0]
        count = struct.unpack_from(">H", payload, after + 2)[0]
        rows = [struct.unpack_from(">III", payload, after + 4 + 12 * row) for row in range(count)]
    except (struct.error, IndexError) as error:
        raise BoxError("the segment index (sidx) is cut off") from error
    if not timescale or not rows:
        raise BoxError("the segment index (sidx) is empty")
    if any(reference & _TYPE_MASK for reference, _, _ in rows):
        raise BoxError("the segment index (sidx) refers to another index")
    return timescale, first, tuple((size & _SIZE_MASK, ticks, bool(sap & _SAP_START)) for size, ticks, sap in rows)
