"""The DASH manifest of a title (ISO/IEC 23009-1, profile isoff-on-demand:2011) drawn from the catalog's facts. Pure.

It stands in where the origin published none or cannot be asked, and is made personal like the packaged one. One Period; an
AdaptationSet per switchable set: video by codec and range of light, and audio or text by language, codec, channels and purpose, with the
role that says it; sound and text in the catalog's order. Every Representation is one
self-initialising CMAF file with its index (`SegmentBase@indexRange`).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from companions.playback.sheets import Sheet
from contracts.catalogue import FileKind, Rendition
from contracts.manifests.elements import Attributes, Element

CONTENT_TYPE = "application/dash+xml"
NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
PROFILES = "urn:mpeg:dash:profile:isoff-on-demand:2011"
CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
ROLES = "urn:mpeg:dash:role:2011"
TRANSFER = "urn:mpeg:mpegB:cicp:TransferCharacteristics"
MIN_BUFFER_S = 4.0
MAX_FRAME_DENOMINATOR = 1001
_CURVES = {"PQ": "16", "HLG": "18"}
"""Transfer characteristics (ITU-T H.273 §8.2)."""
_MIME = {FileKind.VIDEO: "video/mp4", FileKind.AUDIO: "audio/mp4", FileKind.SUBTITLES: "application/mp4"}
_CONTENT = {FileKind.VIDEO: "video", FileKind.AUDIO: "audio", FileKind.SUBTITLES: "text"}


def from_facts(sheet: Sheet) -> Element:
    """The document as the origin would have published it, with the renditions of a session; addresses are media paths."""
    renditions = [route.rendition for route in sheet.routes]
    begins_with = next((one.language for one in renditions if one.kind is FileKind.AUDIO), "")
    made = enumerate(adaptation_sets(renditions), start=1)
    sets = [_adaptation_set(number, members, begins_with) for number, members in made]
    period = _dash("Period", (("id", "1"), ("start", "PT0S"), ("duration", iso_duration(sheet.duration_s))), *sets)
    head = (
        ("xmlns", NAMESPACE),
        ("profiles", PROFILES),
        ("type", "static"),
        ("mediaPresentationDuration", iso_duration(sheet.duration_s)),
        ("minBufferTime", iso_duration(MIN_BUFFER_S)),
    )
    return _dash("MPD", head, period)


def adaptation_sets(renditions: Sequence[Rendition]) -> list[list[Rendition]]:
    """Renditions by what a player may switch between; video, lowest bandwidth first, before audio before text."""
    sets: dict[tuple[str, ...], list[Rendition]] = {}
    for rendition in sorted(renditions, key=_order):
        if rendition.kind in _MIME:
            sets.setdefault(_set_key(rendition), []).append(rendition)
    return list(sets.values())


def iso_duration(seconds: float) -> str:
    """ISO 8601: `PT61.44S`."""
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"


def frame_rate(fps: float) -> str:
    """`24`, `30000/1001`: DASH takes a whole number or a fraction, never a decimal."""
    exact = Fraction(fps).limit_denominator(MAX_FRAME_DENOMINATOR)
    return str(exact.numerator) if exact.denominator == 1 else f"{exact.numerator}/{exact.denominator}"


def _order(rendition: Rendition) -> tuple[int, int]:
    return _rank(rendition.kind), rendition.bandwidth_bps if rendition.kind is FileKind.VIDEO else 0


def _adaptation_set(number: int, renditions: Sequence[Rendition], begins_with: str) -> Element:
    first = renditions[0]
    attributes: Attributes = (
        ("id", str(number)),
        ("contentType", _CONTENT[first.kind]),
        ("mimeType", _MIME[first.kind]),
        ("segmentAlignment", "true"),
        ("subsegmentAlignment", "true"),
        ("startWithSAP", "1"),
        ("subsegmentStartsWithSAP", "1"),
        *((("lang", first.language),) if first.kind is not FileKind.VIDEO else ()),
    )
    about = (*_curve(first), *_role(first, begins_with))
    return _dash("AdaptationSet", attributes, *about, *(_representation(rendition) for rendition in renditions))


def _curve(rendition: Rendition) -> tuple[Element, ...]:
    value = _CURVES.get(rendition.video_range, "")
    return (_dash("SupplementalProperty", (("schemeIdUri", TRANSFER), ("value", value))),) if value else ()


def _role(rendition: Rendition, begins_with: str) -> tuple[Element, ...]:
    """Of ISO/IEC 23009-1 §5.8.5.5, as the packager gives them: the sound that players begin with is the main one."""
    role = ""
    if rendition.kind is FileKind.SUBTITLES:
        role = "forced-subtitle" if rendition.forced else "caption" if rendition.for_deaf else "subtitle"
    elif rendition.kind is FileKind.AUDIO and rendition.language == begins_with:
        role = "main"
    return (_dash("Role", (("schemeIdUri", ROLES), ("value", role))),) if role else ()


def _representation(rendition: Rendition) -> Element:
    index, init = rendition.index_range, rendition.init_range
    return _dash(
        "Representation",
        _representation_attributes(rendition),
        *_channels(rendition),
        _dash("BaseURL", (), rendition.path),
        _dash(
            "SegmentBase",
            (("indexRange", f"{index[0]}-{index[1]}"), ("indexRangeExact", "true")),
            _dash("Initialization", (("range", f"{init[0]}-{init[1]}"),)),
        ),
    )


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
    return tuple(attributes)


def _channels(rendition: Rendition) -> tuple[Element, ...]:
    if rendition.kind is not FileKind.AUDIO or not rendition.channels:
        return ()
    value = (("schemeIdUri", CHANNELS), ("value", str(rendition.channels)))
    return (_dash("AudioChannelConfiguration", value),)


def _set_key(rendition: Rendition) -> tuple[str, ...]:
    """Video switches within a codec family and range of light; audio and text also within language, channels and purpose."""
    family = rendition.codecs.partition(".")[0]
    if rendition.kind is FileKind.VIDEO:
        return rendition.kind.value, family, rendition.video_range
    purpose = f"{rendition.forced} {rendition.for_deaf}"
    return rendition.kind.value, family, rendition.language, str(rendition.channels), purpose


def _rank(kind: FileKind) -> int:
    return list(_MIME).index(kind) if kind in _MIME else len(_MIME)


def _dash(name: str, attributes: Attributes, *children: Element | str) -> Element:
    return Element(name, attributes, children, NAMESPACE)
