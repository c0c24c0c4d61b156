"""The HLS multivariant playlist of a session (RFC 8216bis). Pure.

Per pathway one set of variants and one group per kind of rendition, so that a player that leaves a pathway leaves it for
video and audio together (§7.1). All pathways offer the same variants under the same `STABLE-VARIANT-ID`s, each best place
first. URIs are absolute and carry the token; the media playlists they name are objects beside the media files.
"""

from __future__ import annotations

from collections.abc import Sequence

from companions.playback.manifest_mpd import Sheet
from companions.playback.pathways import Route, media_url, pathway_names
from contracts.catalogue import FileKind, Rendition

CONTENT_TYPE = "application/vnd.apple.mpegurl"
VERSION = 7
_TYPES = {FileKind.AUDIO: "AUDIO", FileKind.SUBTITLES: "SUBTITLES"}
Attributes = list[tuple[str, str]]


def render(sheet: Sheet) -> str:
    """The whole playlist."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    names = pathway_names(sheet.routes)
    for name in names:
        lines += _media(sheet, name)
    for name in names:
        lines += _variants(sheet, name)
    return "\n".join(lines) + "\n"


def _media(sheet: Sheet, pathway: str) -> list[str]:
    lines = []
    for kind in _TYPES:
        for number, route in enumerate(_of(sheet.routes, kind)):
            rendition = route.rendition
            attributes: Attributes = [
                ("TYPE", _TYPES[kind]),
                ("GROUP-ID", _quoted(_group(kind, pathway))),
                ("NAME", _quoted(rendition.id)),
                ("LANGUAGE", _quoted(rendition.language)),
                ("DEFAULT", "YES" if number == 0 and kind is FileKind.AUDIO else "NO"),
                ("AUTOSELECT", "YES"),
                ("STABLE-RENDITION-ID", _quoted(rendition.id)),
            ]
            if kind is FileKind.AUDIO and rendition.channels:
                attributes.append(("CHANNELS", _quoted(str(rendition.channels))))
            attributes.append(("URI", _quoted(_uri(route, pathway, sheet.token))))
            lines.append("#EXT-X-MEDIA:" + _joined(attributes))
    return lines


def _variants(sheet: Sheet, pathway: str) -> list[str]:
    """Peak and average count the most demanding audio with the video (§4.4.6.2)."""
    audio = [route.rendition for route in _of(sheet.routes, FileKind.AUDIO)]
    subtitles = _of(sheet.routes, FileKind.SUBTITLES)
    peak = max((rendition.bandwidth_bps for rendition in audio), default=0)
    average = max((rendition.average_bandwidth_bps for rendition in audio), default=0)
    lines = []
    for route in _of(sheet.routes, FileKind.VIDEO):
        rendition = route.rendition
        attributes: Attributes = [
            ("BANDWIDTH", str(rendition.bandwidth_bps + peak)),
            ("AVERAGE-BANDWIDTH", str(rendition.average_bandwidth_bps + average)),
            ("CODECS", _quoted(_codecs(rendition, audio))),
            ("RESOLUTION", f"{rendition.width}x{rendition.height}"),
        ]
        if rendition.frame_rate > 0:
            attributes.append(("FRAME-RATE", f"{rendition.frame_rate:.3f}"))
        if audio:
            attributes.append(("AUDIO", _quoted(_group(FileKind.AUDIO, pathway))))
        if subtitles:
            attributes.append(("SUBTITLES", _quoted(_group(FileKind.SUBTITLES, pathway))))
        attributes += [("STABLE-VARIANT-ID", _quoted(rendition.id)), ("PATHWAY-ID", _quoted(pathway))]
        lines += ["#EXT-X-STREAM-INF:" + _joined(attributes), _uri(route, pathway, sheet.token)]
    return lines


def _of(routes: Sequence[Route], kind: FileKind) -> list[Route]:
    found = [route for route in routes if route.rendition.kind is kind]
    return sorted(found, key=lambda route: route.rendition.bandwidth_bps)


def _codecs(video: Rendition, audio: Sequence[Rendition]) -> str:
    return ",".join(dict.fromkeys((video.codecs, *(rendition.codecs for rendition in audio))))


def _group(kind: FileKind, pathway: str) -> str:
    return f"{kind.value}-{pathway}"


def _uri(route: Route, pathway: str, token: str) -> str:
    return media_url(route.at(pathway), token, route.rendition.playlist_path)


def _joined(attributes: Attributes) -> str:
    return ",".join(f"{name}={value}" for name, value in attributes)


def _quoted(text: str) -> str:
    """A quoted-string has no double quote, CR or LF and no way to escape them (§4.2)."""
    return '"' + "".join(letter for letter in text if letter not in '"\r\n') + '"'
