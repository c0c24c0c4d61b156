"""The DASH manifest of a session (ISO/IEC 23009-1, profile isoff-on-demand:2011). Pure.

One Period; an AdaptationSet per switchable set: video, and audio or text by language, codec and channels. Every
Representation is one self-initialising CMAF file with its index (`SegmentBase@indexRange`) and a `BaseURL` per place,
best first, each under its pathway's name (`serviceLocation`, ETSI TS 103 998). URLs are absolute and carry the token, so
that the manifest is good wherever it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from xml.sax.saxutils import escape, quoteattr

from companions.playback.pathways import Route, media_url
from contracts.catalogue import FileKind, Rendition

CONTENT_TYPE = "application/dash+xml"
NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
PROFILES = "urn:mpeg:dash:profile:isoff-on-demand:2011"
CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
MIN_BUFFER_S = 4.0
MAX_FRAME_DENOMINATOR = 1001
_MIME = {FileKind.VIDEO: "video/mp4", FileKind.AUDIO: "audio/mp4", FileKind.SUBTITLES: "application/mp4"}
_CONTENT = {FileKind.VIDEO: "video", FileKind.AUDIO: "audio", FileKind.SUBTITLES: "text"}
Attributes = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a manifest is made from. `duration_s` is the title's."""

    duration_s: float
    routes: tuple[Route, ...]
    token: str


def render(sheet: Sheet) -> str:
    """The whole document."""
    sets = [
        line
        for number, routes in enumerate(adaptation_sets(sheet.routes), start=1)
        for line in _adaptation_set(number, routes, sheet.token)
    ]
    head: Attributes = [
        ("xmlns", NAMESPACE),
        ("profiles", PROFILES),
        ("type", "static"),
        ("mediaPresentationDuration", iso_duration(sheet.duration_s)),
        ("minBufferTime", iso_duration(MIN_BUFFER_S)),
    ]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        _open("MPD", head),
        _open("Period", [("id", "1"), ("start", "PT0S"), ("duration", iso_duration(sheet.duration_s))], 1),
        *sets,
        "  </Period>",
        "</MPD>",
    ]
    return "\n".join(lines) + "\n"


def adaptation_sets(routes: Sequence[Route]) -> list[list[Route]]:
    """Routes by what a player may switch between, lowest bandwidth first; video before audio before text."""
    sets: dict[tuple[str, ...], list[Route]] = {}
    for route in sorted(routes, key=lambda r: (_rank(r.rendition.kind), r.rendition.bandwidth_bps)):
        if route.rendition.kind in _MIME:
            sets.setdefault(_set_key(route.rendition), []).append(route)
    return list(sets.values())


def iso_duration(seconds: float) -> str:
    """ISO 8601: `PT61.44S`."""
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"


def frame_rate(fps: float) -> str:
    """`24`, `30000/1001`: DASH takes a whole number or a fraction, never a decimal."""
    exact = Fraction(fps).limit_denominator(MAX_FRAME_DENOMINATOR)
    return str(exact.numerator) if exact.denominator == 1 else f"{exact.numerator}/{exact.denominator}"


def _adaptation_set(number: int, routes: list[Route], token: str) -> list[str]:
    first = routes[0].rendition
    attributes: Attributes = [
        ("id", str(number)),
        ("contentType", _CONTENT[first.kind]),
        ("mimeType", _MIME[first.kind]),
        ("segmentAlignment", "true"),
        ("subsegmentAlignment", "true"),
        ("startWithSAP", "1"),
        ("subsegmentStartsWithSAP", "1"),
    ]
    if first.kind is not FileKind.VIDEO:
        attributes.append(("lang", first.language))
    body = [line for route in routes for line in _representation(route, token)]
    return [_open("AdaptationSet", attributes, 2), *body, "    </AdaptationSet>"]


def _representation(route: Route, token: str) -> list[str]:
    rendition = route.rendition
    bases = [
        f"        <BaseURL serviceLocation={quoteattr(place.pathway)}>"
        f"{escape(media_url(place, token, rendition.path))}</BaseURL>"
        for place in route.places
    ]
    index, init = rendition.index_range, rendition.init_range
    return [
        _open("Representation", _representation_attributes(rendition), 3),
        *_channels(rendition),
        *bases,
        f'        <SegmentBase indexRange="{index[0]}-{index[1]}" indexRangeExact="true">',
        f'          <Initialization range="{init[0]}-{init[1]}"/>',
        "        </SegmentBase>",
        "      </Representation>",
    ]


def _representation_attributes(rendition: Rendition) -> Attributes:
    attributes = [
        ("id", rendition.id),
        ("bandwidth", str(rendition.bandwidth_bps)),
        ("codecs", rendition.codecs),
    ]
    if rendition.kind is FileKind.VIDEO:
        attributes += [("width", str(rendition.width)), ("height", str(rendition.height))]
        attributes += [("frameRate", frame_rate(rendition.frame_rate))] if rendition.frame_rate > 0 else []
        attributes.append(("sar", "1:1"))
    if rendition.kind is FileKind.AUDIO and rendition.sample_rate_hz:
        attributes.append(("audioSamplingRate", str(rendition.sample_rate_hz)))
    return attributes


def _channels(rendition: Rendition) -> list[str]:
    if rendition.kind is not FileKind.AUDIO or not rendition.channels:
        return []
    return [f'        <AudioChannelConfiguration schemeIdUri="{CHANNELS}" value="{rendition.channels}"/>']


def _set_key(rendition: Rendition) -> tuple[str, ...]:
    """Video switches within a codec family; audio and text also within language and channels."""
    family = rendition.codecs.partition(".")[0]
    if rendition.kind is FileKind.VIDEO:
        return rendition.kind.value, family
    return rendition.kind.value, family, rendition.language, str(rendition.channels)


def _rank(kind: FileKind) -> int:
    return list(_MIME).index(kind) if kind in _MIME else len(_MIME)


def _open(name: str, attributes: Attributes, depth: int = 0) -> str:
    return "  " * depth + f"<{name} " + " ".join(f"{key}={quoteattr(value)}" for key, value in attributes) + ">"
