"""What a source file is, and whether it can become a title. Pure: reads what ffprobe wrote, touches no file.

ffprobe is asked for the streams, then for the time of every video packet, which finds what the first answer cannot: a file
whose header promises more than its body holds. Where there are subtitles it is asked for their packets too: a track without a
word is none.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from fractions import Fraction

import msgspec

FORMATS = ("mov", "matroska,webm", "mpegts", "mpeg", "avi", "flv", "ogg", "asf", "mxf", "wav", "aac", "flac", "mp3")
"""Containers that are opened at all. Playlists and concat scripts, which name other files, are not among them."""

SHORTFALL_SHARE = 0.05
SHORTFALL_S = 1.0
TEXT_CODECS = frozenset({"subrip", "mov_text", "webvtt", "ass", "ssa", "text"})
"""Subtitles that are text; pictures of text (DVD, Blu-ray, DVB) would have to be recognised first."""
MAX_SUBTITLES = 32
_WORDLESS_BYTES = {"mov_text": 2}
"""A packet of so many bytes says that nothing is shown: the length of the text (3GPP TS 26.245 §5.17)."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SIDEWAYS = 90


class Rejection(Enum):
    """Why a source does not become a title: (word, what the uploader reads before the detail)."""

    NOT_MEDIA = ("not-media", "The file is not a video in a format that is taken here")
    TRUNCATED = ("truncated", "The file is truncated")
    NO_VIDEO = ("no-video", "The file has no video stream")
    TOO_SHORT = ("too-short", "The video is too short")
    TOO_SMALL = ("too-small", "The picture is too small")
    UNDECODABLE = ("undecodable", "The video cannot be decoded")
    CHECK_FAILED = ("check-failed", "The encoded files did not pass the quality gate")
    GAVE_UP = ("gave-up", "A stage failed too many times")

    def __init__(self, word: str, sentence: str) -> None:
        self.word = word
        self.sentence = sentence

    def words(self, detail: str = "") -> str:
        """One sentence for people."""
        return f"{self.sentence}: {detail}" if detail else self.sentence


class Rejected(msgspec.Struct, frozen=True):
    """A verdict: this source never becomes a title as it is."""

    reason: Rejection
    detail: str = ""

    @property
    def words(self) -> str:
        return self.reason.words(self.detail)


class AudioFacts(msgspec.Struct, frozen=True):
    """`stream` counts audio streams from 0. `language` is a two- or three-letter code, `und` when not said."""

    stream: int
    codec: str
    channels: int
    sample_rate_hz: int
    language: str = "und"


class SubtitleFacts(msgspec.Struct, frozen=True):
    """Subtitles inside the source. `stream` counts its subtitle streams from 0, `index` all its streams. `forced` are for those
    who understand the sound but for some words, `for_deaf` tell noises too."""

    stream: int
    index: int
    codec: str
    language: str = "und"
    forced: bool = False
    for_deaf: bool = False


class SourceFacts(msgspec.Struct, frozen=True):
    """A source as a player would show it: upright, with square pixels. `video_stream` counts video streams from 0."""

    container: str
    duration_s: float
    video_stream: int
    video_codec: str
    width: int
    height: int
    rate_num: int
    rate_den: int
    interlaced: bool
    audios: tuple[AudioFacts, ...]
    packets: int = 0
    subtitles: tuple[SubtitleFacts, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """What a source must have at least."""

    min_duration_s: float
    min_side: int = 16


class _Disposition(msgspec.Struct, frozen=True):
    attached_pic: int = 0
    forced: int = 0
    hearing_impaired: int = 0


class _SideData(msgspec.Struct, frozen=True):
    rotation: float = 0.0


class _Stream(msgspec.Struct, frozen=True):
    index: int = 0
    codec_type: str = ""
    codec_name: str = ""
    width: int = 0
    height: int = 0
    sample_aspect_ratio: str = "1:1"
    avg_frame_rate: str = "0/0"
    r_frame_rate: str = "0/0"
    field_order: str = "progressive"
    duration: str = ""
    sample_rate: str = "0"
    channels: int = 0
    disposition: _Disposition = _Disposition()
    tags: dict[str, str] = {}
    side_data_list: tuple[_SideData, ...] = ()


class _Format(msgspec.Struct, frozen=True):
    format_name: str = ""
    duration: str = ""


class _Probe(msgspec.Struct, frozen=True):
    streams: tuple[_Stream, ...] = ()
    format: _Format = _Format()


def stream_arguments(source: str) -> tuple[str, ...]:
    """ffprobe's arguments for the first question."""
    return (*_careful(), "-show_format", "-show_streams", "-of", "json", source)


def packet_arguments(source: str, video_stream: int) -> tuple[str, ...]:
    """ffprobe's arguments for the second question: one line `pts_time,duration_time` per video packet."""
    chosen = ("-select_streams", f"v:{video_stream}", "-show_entries", "packet=pts_time,duration_time")
    return (*_careful(), *chosen, "-of", "csv=p=0", source)


def subtitle_arguments(source: str) -> tuple[str, ...]:
    """ffprobe's arguments for the third question: one line `stream_index,pts_time,size` per packet of subtitles."""
    chosen = ("-select_streams", "s", "-show_entries", "packet=stream_index,pts_time,size")
    return (*_careful(), *chosen, "-of", "csv=p=0", source)


def _careful() -> tuple[str, ...]:
    return ("-v", "error", "-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS))


def refused(stderr: str) -> Rejected:
    """The verdict when ffprobe could not open the file at all."""
    if "moov atom not found" in stderr:
        return Rejected(Rejection.TRUNCATED, "the index at its end (moov) is missing")
    if "End of file" in stderr:
        return Rejected(Rejection.TRUNCATED, "it ends inside its header")
    return Rejected(Rejection.NOT_MEDIA, "no known container was found in it")


def read_streams(answer: bytes, language: str = "und") -> SourceFacts | Rejected:
    """The facts from ffprobe's first answer. `language` stands in where a sound track names none."""
    try:
        probe = msgspec.json.decode(answer, type=_Probe)
    except msgspec.DecodeError:
        return Rejected(Rejection.NOT_MEDIA, "its streams cannot be read")
    if probe.format.format_name.endswith("_pipe") or probe.format.format_name == "image2":
        return Rejected(Rejection.NOT_MEDIA, "it is a still image")
    videos = [stream for stream in probe.streams if stream.codec_type == "video"]
    number = next((i for i, stream in enumerate(videos) if not stream.disposition.attached_pic), None)
    audios = _audios(probe.streams, language)
    if number is None:
        what = "it holds sound only" if audios else "it holds neither picture nor sound"
        return Rejected(Rejection.NO_VIDEO, what)
    facts = _facts(probe.format, number, videos[number], audios)
    if isinstance(facts, Rejected):
        return facts
    return msgspec.structs.replace(facts, subtitles=_subtitles(probe.streams, language))


def judge(facts: SourceFacts, packets: bytes, stderr: str, limits: Limits) -> SourceFacts | Rejected:
    """The facts with the measured duration, or why not. `packets` and `stderr` are ffprobe's second answer."""
    count, end_s = _shown_span(packets)
    if min(facts.width, facts.height) < limits.min_side:
        sides = f"{facts.width} × {facts.height}, at least {limits.min_side} lines are needed"
        return Rejected(Rejection.TOO_SMALL, sides)
    missing_s = facts.duration_s - end_s
    if missing_s > max(SHORTFALL_S, SHORTFALL_SHARE * facts.duration_s) or "partial file" in stderr:
        detail = f"its picture ends at {end_s:.1f} s, its header announces {facts.duration_s:.1f} s"
        return Rejected(Rejection.TRUNCATED, detail)
    if end_s < limits.min_duration_s:
        detail = f"{end_s:.2f} s, at least {limits.min_duration_s:g} s are needed"
        return Rejected(Rejection.TOO_SHORT, detail)
    return msgspec.structs.replace(facts, duration_s=end_s, packets=count)


def with_words(facts: SourceFacts, packets: bytes) -> SourceFacts:
    """The facts with those subtitles only that say something before the picture ends. `packets` is ffprobe's third answer."""
    wordless = {str(one.index): _WORDLESS_BYTES.get(one.codec, 0) for one in facts.subtitles}
    speaking = set()
    for line in packets.decode("ascii", "replace").splitlines():
        index, _, rest = line.partition(",")
        pts, _, size = rest.partition(",")
        size = size.partition(",")[0]
        if index in wordless and _is_number(size) and int(size) > wordless[index] and _seconds(pts) < facts.duration_s:
            speaking.add(index)
    kept = tuple(one for one in facts.subtitles if str(one.index) in speaking)
    return msgspec.structs.replace(facts, subtitles=kept)


def _facts(container: _Format, number: int, video: _Stream, audios: tuple[AudioFacts, ...]) -> SourceFacts | Rejected:
    rate = _ratio(video.avg_frame_rate) or _ratio(video.r_frame_rate)
    if not rate or not video.width or not video.height:
        return Rejected(Rejection.UNDECODABLE, f"no picture size or frame rate in its {video.codec_name or '?'} stream")
    width, height = _shown_size(video)
    return SourceFacts(
        container=container.format_name,
        duration_s=_seconds(video.duration) or _seconds(container.duration),
        video_stream=number,
        video_codec=video.codec_name,
        width=width,
        height=height,
        rate_num=rate.numerator,
        rate_den=rate.denominator,
        interlaced=video.field_order not in ("progressive", "unknown", ""),
        audios=audios,
    )


def _audios(streams: tuple[_Stream, ...], language: str) -> tuple[AudioFacts, ...]:
    found = [stream for stream in streams if stream.codec_type == "audio"]
    return tuple(
        AudioFacts(
            stream=number,
            codec=stream.codec_name,
            channels=stream.channels,
            sample_rate_hz=int(stream.sample_rate) if _is_number(stream.sample_rate) else 0,
            language=_language(stream.tags, language),
        )
        for number, stream in enumerate(found)
        if stream.channels
    )


def _subtitles(streams: tuple[_Stream, ...], language: str) -> tuple[SubtitleFacts, ...]:
    found = [stream for stream in streams if stream.codec_type == "subtitle"]
    return tuple(
        SubtitleFacts(
            stream=number,
            index=stream.index,
            codec=stream.codec_name,
            language=_language(stream.tags, language),
            forced=bool(stream.disposition.forced),
            for_deaf=bool(stream.disposition.hearing_impaired),
        )
        for number, stream in enumerate(found[:MAX_SUBTITLES])
        if stream.codec_name in TEXT_CODECS
    )


def _language(tags: dict[str, str], otherwise: str) -> str:
    said = tags.get("language", "").lower()
    if _LANGUAGE.fullmatch(said) and said != "und":
        return said
    return otherwise if _LANGUAGE.fullmatch(otherwise) else "und"


def _shown_size(video: _Stream) -> tuple[int, int]:
    """Width and height with square pixels, turned upright."""
    aspect = _ratio(video.sample_aspect_ratio.replace(":", "/")) or Fraction(1)
    width, height = round(video.width * aspect), video.height
    turned = any(round(abs(data.rotation)) % 180 == _SIDEWAYS for data in video.side_data_list)
    return (height, width) if turned else (width, height)


def _shown_span(packets: bytes) -> tuple[int, float]:
    """(packets, seconds from the first shown one to the end of the last) of lines `pts_time,duration_time`."""
    count, start_s, end_s, length_s = 0, float("inf"), 0.0, 0.0
    for line in packets.decode("ascii", "replace").splitlines():
        pts, _, rest = line.partition(",")
        count += 1
        length_s = _seconds(rest.rstrip(",")) or length_s
        shown_s = _seconds(pts)
        start_s = min(start_s, shown_s)
        end_s = max(end_s, shown_s + length_s)
    return count, max(0.0, end_s - start_s) if count else 0.0


def _ratio(text: str) -> Fraction | None:
    """`25/1` → 25; None for `0/0`, `N/A` and other text."""
    numerator, slash, denominator = text.partition("/")
    if not slash or not _is_number(numerator) or not _is_number(denominator):
        return None
    return Fraction(int(numerator), int(denominator)) if int(numerator) and int(denominator) else None


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
