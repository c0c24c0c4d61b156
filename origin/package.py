"""How encoded tracks become CMAF files that HLS and DASH address by range: Shaka Packager's arguments and answer. Pure.

Per rendition one fragmented MP4 with a segment index and one HLS media playlist that names it relatively, so that a token
in front of the path and the host stay; beside each picture, a playlist of its I-frames for trick play. The packager's MPD and
multivariant playlist are published too (`origin.manifests`): playback makes each viewer's own from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from contracts.catalogue import FileKind, Rendition
from contracts.manifests.bad import BadManifest
from contracts.urls import MediaName
from origin import manifests
from origin.boxes import SegmentIndex
from origin.encode import AUDIO_RATE_HZ, text_file
from origin.ladder import STEREO, AudioPlan, Ladder, SubtitlePlan, Track, VideoPlan

MPD_FILE = "packager.mpd"
MASTER_FILE = "packager.m3u8"
FRAMES = "-iframes"
POSTER_FILE = "poster.jpg"
POSTER_TIER = "base"
MP4 = "video/mp4"
MP4_AUDIO = "audio/mp4"
MP4_TEXT = "application/mp4"
PLAYLIST = "application/vnd.apple.mpegurl"
DASH = "application/dash+xml"
JPEG = "image/jpeg"
_TYPES = {FileKind.VIDEO: MP4, FileKind.AUDIO: MP4_AUDIO, FileKind.SUBTITLES: MP4_TEXT}
_DEAF = "public.accessibility.transcribes-spoken-dialog;public.accessibility.describes-music-and-sound"
_MPD = "{urn:mpeg:dash:schema:mpd:2011}"
_PEAK_SHARE = 0.5


class PackageError(Exception):
    """The packager's answer lacks something; the message says what."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One file to publish: where it lies in the package folder and under which name it is served."""

    name: MediaName
    kind: FileKind
    group: str
    content_type: str


def arguments(ladder: Ladder, encoded: str, packaged: str) -> tuple[str, ...]:
    """Shaka Packager's arguments: tracks in folder `encoded`, result in folder `packaged`.

    The smallest picture is named first, because players begin with the first variant.
    """
    streams = [
        f"in={encoded}/{video.id}.mp4,stream=video,output={packaged}/{video.id}.mp4,playlist_name={video.id}.m3u8,"
        f"iframe_playlist_name={video.id}{FRAMES}.m3u8"
        for video in reversed(ladder.videos)
    ]
    streams += [
        f"in={encoded}/{audio.id}.mp4,stream=audio,output={packaged}/{audio.id}.mp4,playlist_name={audio.id}.m3u8,"
        f"hls_group_id={'surround' if audio.channels > STEREO else 'audio'},hls_name={audio.id}{_language(audio)}"
        for audio in ladder.audios
    ]
    streams += [
        f"in={encoded}/{text_file(text)},stream=text,format=vtt+mp4,output={packaged}/{text.id}.mp4,"
        f"playlist_name={text.id}.m3u8,hls_group_id=subtitles,hls_name={text.id}{_language(text)}{_purpose(text)}"
        for text in ladder.subtitles
    ]
    length = f"{ladder.segment_s:.6f}"
    return (
        *streams,
        *("--segment_duration", length, "--fragment_duration", length),
        *_default_language(ladder),
        *("--mpd_output", f"{packaged}/{MPD_FILE}", "--hls_master_playlist_output", f"{packaged}/{MASTER_FILE}"),
    )


def read_codecs(mpd: bytes) -> dict[str, str]:
    """File name → RFC 6381 codec string. Raises PackageError when the MPD is not one."""
    try:
        root = ElementTree.fromstring(mpd)
    except ElementTree.ParseError as error:
        raise PackageError(f"the packager's MPD cannot be read: {error}") from error
    found: dict[str, str] = {}
    for representation in root.iter(f"{_MPD}Representation"):
        name = representation.findtext(f"{_MPD}BaseURL") or ""
        codecs = representation.get("codecs") or ""
        if name and codecs:
            found[name] = codecs
    return found


def rendition(title: str, plan: Track, ladder: Ladder, codecs: str, index: SegmentIndex) -> Rendition:
    """Everything that manifests need to know of one packaged track."""
    video = plan if isinstance(plan, VideoPlan) else None
    text = plan if isinstance(plan, SubtitlePlan) else None
    return Rendition(
        id=plan.id,
        kind=kind_of(plan),
        path=MediaName(title, plan.tier, f"{plan.id}.mp4").path,
        playlist_path=MediaName(title, plan.tier, f"{plan.id}.m3u8").path,
        tier=plan.tier,
        codecs=codecs,
        bandwidth_bps=peak_bps(index),
        average_bandwidth_bps=average_bps(index),
        init_range=index.init_range,
        index_range=index.index_range,
        segments=index.segments,
        duration_s=index.duration_s,
        width=video.width if video else 0,
        height=video.height if video else 0,
        frame_rate=float(ladder.rate) if video else 0.0,
        sample_rate_hz=AUDIO_RATE_HZ if isinstance(plan, AudioPlan) else 0,
        channels=plan.channels if isinstance(plan, AudioPlan) else 0,
        language="und" if isinstance(plan, VideoPlan) else plan.language,
        iframe_playlist_path=MediaName(title, plan.tier, f"{plan.id}{FRAMES}.m3u8").path if video else "",
        forced=text.forced if text else False,
        for_deaf=text.for_deaf if text else False,
    )


def kind_of(plan: Track) -> FileKind:
    if isinstance(plan, VideoPlan):
        return FileKind.VIDEO
    return FileKind.AUDIO if isinstance(plan, AudioPlan) else FileKind.SUBTITLES


def peak_bps(index: SegmentIndex) -> int:
    """The highest rate of a segment at least half as long as the longest (RFC 8216 §4.3.4.2 asks for no shorter ones)."""
    longest_s = max(segment.duration_s for segment in index.segments)
    full = [segment for segment in index.segments if segment.duration_s >= _PEAK_SHARE * longest_s]
    return max(round(segment.length * 8 / segment.duration_s) for segment in full)


def average_bps(index: SegmentIndex) -> int:
    return round(sum(segment.length for segment in index.segments) * 8 / index.duration_s)


def publications(title: str, ladder: Ladder) -> tuple[Publication, ...]:
    """Every file of a title in the order in which it is published."""
    found: list[Publication] = []
    for plan in ladder.tracks:
        group = f"{title}/{plan.id}"
        kind = kind_of(plan)
        found.append(Publication(MediaName(title, plan.tier, f"{plan.id}.mp4"), kind, group, _TYPES[kind]))
        for name in (plan.id, f"{plan.id}{FRAMES}") if kind is FileKind.VIDEO else (plan.id,):
            found.append(Publication(MediaName(title, plan.tier, f"{name}.m3u8"), FileKind.PLAYLIST, group, PLAYLIST))
    for file, content_type in ((manifests.DASH_FILE, DASH), (manifests.HLS_FILE, PLAYLIST)):
        manifest = MediaName(title, manifests.TIER, file)
        found.append(Publication(manifest, FileKind.PLAYLIST, f"{title}/manifests", content_type))
    poster = MediaName(title, POSTER_TIER, POSTER_FILE)
    found.append(Publication(poster, FileKind.IMAGE, f"{title}/poster", JPEG))
    return tuple(found)


def packaged_manifests(title: str, ladder: Ladder, mpd: bytes, playlist: bytes) -> dict[str, str]:
    """File name → text of the manifests to publish, from the packager's own. Raises PackageError."""
    names = {one.name.file: one.name for one in publications(title, ladder)}
    try:
        return {manifests.DASH_FILE: manifests.mpd(mpd, names), manifests.HLS_FILE: manifests.playlist(playlist, names)}
    except BadManifest as error:
        raise PackageError(f"the packager's manifest cannot be published: {error}") from error


def _default_language(ladder: Ladder) -> tuple[str, ...]:
    """The first sound track's, which players begin with."""
    language = ladder.audios[0].language if ladder.audios else "und"
    return () if language == "und" else ("--default_language", language)


def _language(track: AudioPlan | SubtitlePlan) -> str:
    """The packager knows no `und`."""
    return "" if track.language == "und" else f",language={track.language}"


def _purpose(text: SubtitlePlan) -> str:
    """Roles of DASH (ISO/IEC 23009-1 §5.8.5.5) and their likes in HLS (RFC 8216bis §4.4.6.1)."""
    deaf = f",hls_characteristics={_DEAF}" if text.for_deaf else ""
    if text.forced:
        return f",dash_roles=forced-subtitle,forced_subtitle=1{deaf}"
    return f",dash_roles={'caption' if text.for_deaf else 'subtitle'}{deaf}"
