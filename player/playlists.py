"""HLS playlists (RFC 8216bis) of one file per rendition, as the player needs them. Pure: text in, values out, BadManifest out.

A variant is known by its STABLE-VARIANT-ID over all pathways, an audio rendition by its STABLE-RENDITION-ID; a group of renditions belongs to
the pathways of the variants that name it (§4.4.6.2). Sound that is muxed into variants, playlists of several files and live ones are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from player.presentation import (
    Address,
    BadManifest,
    Dialect,
    Presentation,
    Representation,
    SegmentRange,
    SteeringTag,
)

FIRST_LINE = "#EXTM3U"
DEFAULT_PATHWAY = "."
"""Of a variant that names none (§4.4.6.2)."""
Attributes = dict[str, str]
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)(?:,|$)')
_RANGE = re.compile(r"(\d+)(?:@(\d+))?")


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """The media of one rendition: the file as the playlist names it, its initialisation bytes [first, last], its segments."""

    uri: str
    init: tuple[int, int]
    segments: tuple[SegmentRange, ...]


@dataclass(slots=True)
class _Gathered:
    """A track while its pathways are read."""

    bandwidth_bps: int
    height: int
    addresses: list[Address]


def parse_multivariant(text: str, url: str) -> Presentation:
    """`url` is where it came from. The duration is infinite: only media playlists have one. Raises BadManifest."""
    lines = _lines(text)
    variants: dict[str, _Gathered] = {}
    pathways_of_group: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            found = _attributes(line)
            pathway = found.get("PATHWAY-ID") or DEFAULT_PATHWAY
            if "AUDIO" in found:
                pathways_of_group.setdefault(found["AUDIO"], []).append(pathway)
            uri = next((later for later in lines[number + 1 : number + 2] if not later.startswith("#")), "")
            if not uri:
                raise BadManifest(f"line {number + 1}: a variant without an address")
            name = found.get("STABLE-VARIANT-ID") or f"{found.get('RESOLUTION', '')}@{found.get('BANDWIDTH', '')}"
            track = variants.setdefault(name, _Gathered(_whole(found, "BANDWIDTH"), _height(found), []))
            track.addresses.append(Address(urljoin(url, uri), pathway))
    if not variants:
        raise BadManifest("the playlist has no variants")
    audio = _audio(lines, url, pathways_of_group)
    return Presentation(math.inf, _tracks(variants, "video"), _tracks(audio, "audio"), _steering(lines, url))


def parse_media(text: str) -> MediaPlaylist:
    """Raises BadManifest, also for a playlist of several files."""
    segments: list[SegmentRange] = []
    uris: set[str] = set()
    init: tuple[int, int] | None = None
    duration_s, length, offset, at_s = 0.0, 0, 0, 0.0
    for line in _lines(text):
        if line.startswith("#EXT-X-MAP:"):
            found = _attributes(line)
            size, first = _range(found.get("BYTERANGE", ""), 0)
            init = (first, first + size - 1)
            uris.add(found.get("URI", ""))
        elif line.startswith("#EXTINF:"):
            duration_s = _seconds(line.removeprefix("#EXTINF:").partition(",")[0])
        elif line.startswith("#EXT-X-BYTERANGE:"):
            length, offset = _range(line.removeprefix("#EXT-X-BYTERANGE:"), offset + length)
        elif not line.startswith("#"):
            if not length:
                raise BadManifest(f"{line}: a segment without EXT-X-BYTERANGE")
            segments.append(SegmentRange(offset, length, at_s, duration_s))
            uris.add(line)
            at_s += duration_s
    if init is None or not segments or len(uris) != 1:
        raise BadManifest("not a playlist of one file with EXT-X-MAP and segments")
    return MediaPlaylist(uris.pop(), init, tuple(segments))


def _audio(lines: list[str], url: str, pathways_of_group: dict[str, list[str]]) -> dict[str, _Gathered]:
    tracks: dict[str, _Gathered] = {}
    for line in lines:
        found = _attributes(line) if line.startswith("#EXT-X-MEDIA:") else {}
        if found.get("TYPE") != "AUDIO" or not found.get("URI"):
            continue
        name = found.get("STABLE-RENDITION-ID") or found.get("NAME", "")
        track = tracks.setdefault(name, _Gathered(0, 0, []))
        for pathway in dict.fromkeys(pathways_of_group.get(found.get("GROUP-ID", ""), [])):
            track.addresses.append(Address(urljoin(url, found["URI"]), pathway))
    return {name: track for name, track in tracks.items() if track.addresses}


def _tracks(found: dict[str, _Gathered], kind: str) -> tuple[Representation, ...]:
    tracks = [
        Representation(name, kind, one.bandwidth_bps, one.height, (0, 0), (0, 0), tuple(one.addresses), playlist=True)
        for name, one in found.items()
    ]
    return tuple(sorted(tracks, key=lambda track: track.bandwidth_bps))


def _steering(lines: list[str], url: str) -> SteeringTag | None:
    line = next((line for line in lines if line.startswith("#EXT-X-CONTENT-STEERING:")), "")
    found = _attributes(line)
    server_uri = urljoin(url, found.get("SERVER-URI", "")) if found.get("SERVER-URI") else ""
    if not server_uri.startswith(("http://", "https://")):
        return None
    return SteeringTag(server_uri, found.get("PATHWAY-ID", ""), Dialect.HLS)


def _lines(text: str) -> list[str]:
    """Without comments and empty lines. Raises BadManifest for what is no playlist."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or lines[0] != FIRST_LINE:
        raise BadManifest(f"not a playlist: it does not begin with {FIRST_LINE}")
    return [line for line in lines[1:] if line and (line.startswith("#EXT") or not line.startswith("#"))]


def _attributes(line: str) -> Attributes:
    """An attribute list (§4.2), quotes taken off."""
    return {match[1]: match[2].strip('"') for match in _pairs(line.partition(":")[2])}


def _pairs(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while match := _ATTRIBUTE.match(text, at):
        yield match
        at = match.end()


def _whole(found: Attributes, name: str) -> int:
    text = found.get(name, "0")
    if not (text.isascii() and text.isdigit()):
        raise BadManifest(f"{name}={text} is no number")
    return int(text)


def _height(found: Attributes) -> int:
    height = found.get("RESOLUTION", "").partition("x")[2]
    return int(height) if height.isascii() and height.isdigit() else 0


def _range(text: str, following: int) -> tuple[int, int]:
    """(length, offset) of `LENGTH[@OFFSET]`; without an offset it follows what came before."""
    match = _RANGE.fullmatch(text)
    if not match or not int(match[1]):
        raise BadManifest(f"{text!r} is not a byte range")
    return int(match[1]), int(match[2]) if match[2] else following


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise BadManifest(f"{text!r} is no duration")
    return found
