"""A DASH on-demand manifest (ISO/IEC 23009-1, `SegmentBase`) as the player needs it, and the `sidx` box behind it.

Pure: text and bytes in, values out. BadManifest is the one error that leaves this module.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urljoin
from xml.etree import ElementTree as XmlTree

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"


class BadManifest(Exception):
    """The manifest or the segment index is not what DASH on-demand says."""


class Dialect(Enum):
    """How a steering server is told the pathway and its throughput: the names of two query parameters."""

    HLS = ("_HLS_pathway", "_HLS_throughput")
    DASH = ("_DASH_pathway", "_DASH_throughput")

    def __init__(self, pathway: str, throughput: str) -> None:
        self.pathway = pathway
        self.throughput = throughput


@dataclass(frozen=True, slots=True)
class SteeringTag:
    """What a manifest says of content steering. `pathway` is the one to begin with, empty for the manifest's own order."""

    server_uri: str
    pathway: str
    dialect: Dialect
    before_start: bool = False
    """The server wants to be asked before anything is fetched."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place to fetch a representation from; `location` is DASH's serviceLocation, HLS's PATHWAY-ID."""

    url: str
    location: str


@dataclass(frozen=True, slots=True)
class Representation:
    """`init` and `index` are byte ranges [first, last], inclusive. With `playlist` the addresses are those of an HLS media playlist, which
    has the ranges."""

    id: str
    kind: str
    bandwidth_bps: int
    height: int
    init: tuple[int, int]
    index: tuple[int, int]
    addresses: tuple[Address, ...]
    playlist: bool = False


@dataclass(frozen=True, slots=True)
class Presentation:
    """Video representations from low to high bandwidth, audio likewise."""

    duration_s: float
    video: tuple[Representation, ...]
    audio: tuple[Representation, ...]
    steering: SteeringTag | None = None


@dataclass(frozen=True, slots=True)
class SegmentRange:
    """Bytes [offset, offset + length) hold media from `starts_at_s` for `duration_s`."""

    offset: int
    length: int
    starts_at_s: float
    duration_s: float


def parse_mpd(text: str, url: str = "") -> Presentation:
    """`url` is where the manifest came from, which a relative steering address counts from. Raises BadManifest."""
    try:
        root = XmlTree.fromstring(text)
    except XmlTree.ParseError as error:
        raise BadManifest(f"the MPD is not XML: {error}") from error
    duration_s = parse_duration(root.get("mediaPresentationDuration", ""))
    tracks: dict[str, list[Representation]] = {"video": [], "audio": []}
    for adaptation in root.iter(f"{NAMESPACE}AdaptationSet"):
        kind = _kind(adaptation)
        if kind in tracks:
            tracks[kind] += [
                _representation(node, adaptation, kind) for node in adaptation.iter(f"{NAMESPACE}Representation")
            ]
    if not tracks["video"]:
        raise BadManifest("the MPD has no video representation")
    video, audio = (tuple(sorted(tracks[kind], key=lambda track: track.bandwidth_bps)) for kind in ("video", "audio"))
    return Presentation(duration_s, video, audio, _steering(root, url))


def parse_duration(text: str) -> float:
    """Seconds of an ISO 8601 duration without years and months. Raises BadManifest."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", text)
    if not match or text in ("P", "PT", ""):
        raise BadManifest(f"{text!r} is not a duration")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_sidx(data: bytes, first_byte: int, end_of_box: int) -> tuple[SegmentRange, ...]:
    """The segments of a segment index box (ISO/IEC 14496-12 §8.16.3).

    `first_byte` is the file offset of `data[0]`; `end_of_box` the file offset behind the index range, which the first
    offset counts from. Raises BadManifest.
    """
    try:
        return _read_sidx(data, end_of_box)
    except struct.error as error:
        raise BadManifest(f"the segment index at byte {first_byte} is cut short") from error


def _read_sidx(data: bytes, anchor: int) -> tuple[SegmentRange, ...]:
    _size, name, version = struct.unpack_from(">I4sB", data, 0)
    if name != b"sidx":
        raise BadManifest(f"expected a sidx box, found {name!r}")
    (timescale,) = struct.unpack_from(">I", data, 16)
    if version == 0:
        earliest, first_offset = struct.unpack_from(">II", data, 20)
        position = 28
    else:
        earliest, first_offset = struct.unpack_from(">QQ", data, 20)
        position = 36
    _reserved, count = struct.unpack_from(">HH", data, position)
    position += 4
    offset, at, segments = anchor + first_offset, int(earliest), []
    for _ in range(count):
        reference, duration, _sap = struct.unpack_from(">III", data, position)
        if reference >> 31:
            raise BadManifest("hierarchical segment indexes are not used in on-demand files")
        length = reference & 0x7FFFFFFF
        segments.append(SegmentRange(offset, length, (at - earliest) / timescale, duration / timescale))
        offset, at, position = offset + length, at + duration, position + 12
    return tuple(segments)


def _kind(adaptation: XmlTree.Element) -> str:
    declared = adaptation.get("contentType") or (adaptation.get("mimeType") or "").partition("/")[0]
    if declared:
        return declared
    first = adaptation.find(f"{NAMESPACE}Representation")
    return (first.get("mimeType", "") if first is not None else "").partition("/")[0]


def _representation(node: XmlTree.Element, adaptation: XmlTree.Element, kind: str) -> Representation:
    base = node.find(f"{NAMESPACE}SegmentBase")
    init = base.find(f"{NAMESPACE}Initialization") if base is not None else None
    if base is None or init is None:
        raise BadManifest(f"representation {node.get('id')} has no SegmentBase with an Initialization")
    addresses = tuple(
        Address((url.text or "").strip(), url.get("serviceLocation", "")) for url in node.findall(f"{NAMESPACE}BaseURL")
    )
    if not addresses:
        raise BadManifest(f"representation {node.get('id')} has no BaseURL")
    return Representation(
        id=node.get("id", ""),
        kind=kind,
        bandwidth_bps=int(node.get("bandwidth", "0")),
        height=int(node.get("height") or adaptation.get("height") or 0),
        init=_range(init.get("range")),
        index=_range(base.get("indexRange")),
        addresses=addresses,
    )


def _range(text: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)-(\d+)", text or "")
    if not match or int(match[1]) > int(match[2]):
        raise BadManifest(f"{text!r} is not a byte range")
    return int(match[1]), int(match[2])


def _steering(root: XmlTree.Element, url: str) -> SteeringTag | None:
    """A tag without an address of HTTP is none: the play goes on in the manifest's order."""
    node = root.find(f"{NAMESPACE}ContentSteering")
    server_uri = urljoin(url, (node.text or "").strip()) if node is not None else ""
    if node is None or not server_uri.startswith(("http://", "https://")):
        return None
    return SteeringTag(
        server_uri,
        node.get("defaultServiceLocation", "").partition(" ")[0],
        Dialect.DASH,
        node.get("queryBeforeStart", "false") in ("true", "1"),
    )
