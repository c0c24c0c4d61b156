"""The HLS multivariant playlist of a title (RFC 8216bis) drawn from the catalog's facts. Pure.

It stands in where the origin published none or cannot be asked, and is made personal like the packaged one. Pictures stand
by their rate, sound and text in the catalog's order: players begin with the first sound. I-frame playlists are not in it: only
the packager knows their rates.
"""

from __future__ import annotations

from collections.abc import Sequence

from companions.playback.sheets import Sheet
from contracts.catalogue import FileKind, Rendition
from contracts.manifests.playlists import MEDIA, STREAM_INF, Attribute, Playlist, Tag, quotable

CONTENT_TYPE = "application/vnd.apple.mpegurl"
VERSION = 7
DEAF = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
"""CHARACTERISTICS of subtitles that tell noises too (§4.4.6.1)."""
_RANGES = frozenset({"SDR", "HLG", "PQ"})
_TYPES = {FileKind.AUDIO: "AUDIO", FileKind.SUBTITLES: "SUBTITLES"}


def from_facts(sheet: Sheet) -> Playlist:
    """The playlist as the origin would have published it, with the renditions of a session; addresses are media paths."""
    renditions = [route.rendition for route in sheet.routes]
    head = (Tag("EXT-X-VERSION", value=str(VERSION)), Tag("EXT-X-INDEPENDENT-SEGMENTS"))
    media = [tag for kind in _TYPES for tag in _media(_of(renditions, kind))]
    return Playlist((*head, *media, *_variants(renditions)))


def _media(renditions: Sequence[Rendition]) -> list[Tag]:
    tags = []
    for number, rendition in enumerate(renditions):
        attributes = [
            Attribute("TYPE", _TYPES[rendition.kind], quoted=False),
            Attribute("GROUP-ID", rendition.kind.value),
            Attribute("NAME", quotable(rendition.id)),
            Attribute("LANGUAGE", quotable(rendition.language)),
            Attribute("DEFAULT", "YES" if not number and rendition.kind is FileKind.AUDIO else "NO", quoted=False),
            Attribute("AUTOSELECT", "YES", quoted=False),
            Attribute("STABLE-RENDITION-ID", quotable(rendition.id)),
        ]
        if rendition.forced:
            attributes.append(Attribute("FORCED", "YES", quoted=False))
        if rendition.for_deaf:
            attributes.append(Attribute("CHARACTERISTICS", DEAF))
        if rendition.kind is FileKind.AUDIO and rendition.channels:
            attributes.append(Attribute("CHANNELS", str(rendition.channels)))
        attributes.append(Attribute("URI", quotable(rendition.playlist_path)))
        tags.append(Tag(MEDIA, tuple(attributes)))
    return tags


def _variants(renditions: Sequence[Rendition]) -> list[Tag]:
    """Peak and average count the most demanding audio with the video (§4.4.6.2)."""
    audio = _of(renditions, FileKind.AUDIO)
    peak = max((rendition.bandwidth_bps for rendition in audio), default=0)
    average = max((rendition.average_bandwidth_bps for rendition in audio), default=0)
    beside = (*audio, *_of(renditions, FileKind.SUBTITLES))
    groups = [Attribute(_TYPES[kind], kind.value) for kind in _TYPES if _of(renditions, kind)]
    tags = []
    for rendition in sorted(_of(renditions, FileKind.VIDEO), key=lambda rendition: rendition.bandwidth_bps):
        attributes = [
            Attribute("BANDWIDTH", str(rendition.bandwidth_bps + peak), quoted=False),
            Attribute("AVERAGE-BANDWIDTH", str(rendition.average_bandwidth_bps + average), quoted=False),
            Attribute("CODECS", quotable(_codecs(rendition, beside))),
            Attribute("RESOLUTION", f"{rendition.width}x{rendition.height}", quoted=False),
        ]
        if rendition.frame_rate > 0:
            attributes.append(Attribute("FRAME-RATE", f"{rendition.frame_rate:.3f}", quoted=False))
        if rendition.video_range in _RANGES:
            attributes.append(Attribute("VIDEO-RANGE", rendition.video_range, quoted=False))
        attributes += [*groups, Attribute("STABLE-VARIANT-ID", quotable(rendition.id))]
        tags.append(Tag(STREAM_INF, tuple(attributes), uri=rendition.playlist_path))
    return tags


def _of(renditions: Sequence[Rendition], kind: FileKind) -> list[Rendition]:
    return [rendition for rendition in renditions if rendition.kind is kind]


def _codecs(video: Rendition, beside: Sequence[Rendition]) -> str:
    return ",".join(dict.fromkeys((video.codecs, *(rendition.codecs for rendition in beside))))
