"""The quality gate: what a packaged title must fulfil before anybody may see it. Pure.

It judges measured facts, never the plan's promises: segment indexes read back from the files, frames counted by ffprobe,
decoding errors of picture and sound reported by ffmpeg, byte ranges read from the playlist.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.catalogue import FileKind
from origin.boxes import SegmentIndex
from origin.ladder import Ladder

DURATION_TOLERANCE_S = 0.25
AUDIO_SEGMENTS_TOLERANCE = 1


class Flaw(Enum):
    """Why the gate stays closed (log word = value)."""

    DURATION = "duration-differs"
    FRAMES = "frames-missing"
    SEGMENT_COUNT = "segment-counts-differ"
    NOT_ALIGNED = "segments-not-aligned"
    NO_KEYFRAME = "segment-without-keyframe"
    SEGMENT_LENGTH = "segment-too-long"
    NOT_DECODABLE = "not-decodable"
    PLAYLIST = "playlist-does-not-match-the-file"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in one packaged track."""

    id: str
    kind: FileKind
    index: SegmentIndex
    frames: int
    decode_errors: str
    playlist: str

    @property
    def video(self) -> bool:
        return self.kind is FileKind.VIDEO


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    flaw: Flaw
    where: str
    detail: str

    @property
    def words(self) -> str:
        return f"{self.where}: {self.flaw.value} ({self.detail})"


def inspect(ladder: Ladder, tracks: tuple[Measured, ...]) -> tuple[Finding, ...]:
    """Everything that is wrong with the packaged tracks of one title; empty when the gate opens."""
    findings: list[Finding] = []
    for track in tracks:
        findings += _alone(ladder, track)
    videos = [track for track in tracks if track.video]
    for other in videos[1:]:
        findings += _beside(videos[0], other)
    for audio in (track for track in tracks if track.kind is FileKind.AUDIO):
        findings += _sound(videos[0], audio)
    return tuple(findings)


def count_arguments(file: str) -> tuple[str, ...]:
    """ffprobe's arguments that count the frames of a track without decoding."""
    return ("-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", file)


def read_count(output: bytes) -> int:
    """The count from ffprobe's answer; 0 when it gave none."""
    first = output.split(b"\n", 1)[0].strip().rstrip(b",")
    return int(first) if first.isdigit() else 0


def decode_arguments(file: str) -> tuple[str, ...]:
    """ffmpeg's arguments that decode the keyframe of every segment (all sound) and complain of anything wrong."""
    return ("-v", "error", "-nostdin", "-skip_frame", "nokey", "-i", file, "-f", "null", "-")


def byte_ranges(playlist: str) -> tuple[tuple[int, int], ...]:
    """(offset, length) of every `EXT-X-BYTERANGE` of an HLS media playlist (RFC 8216 §4.3.2.2)."""
    found: list[tuple[int, int]] = []
    for line in playlist.splitlines():
        if not line.startswith("#EXT-X-BYTERANGE:"):
            continue
        length, at, offset = line.partition(":")[2].partition("@")
        start = int(offset) if at else sum(found[-1]) if found else 0
        found.append((start, int(length)))
    return tuple(found)


def _alone(ladder: Ladder, track: Measured) -> list[Finding]:
    """Subtitles end with their last word, wherever that is."""
    findings: list[Finding] = []
    apart_s = abs(track.index.duration_s - ladder.duration_s)
    if track.kind is not FileKind.SUBTITLES and apart_s > DURATION_TOLERANCE_S:
        detail = f"{track.index.duration_s:.3f} s, {ladder.duration_s:.3f} s planned"
        findings.append(Finding(Flaw.DURATION, track.id, detail))
    if track.video and abs(track.frames - ladder.frames) > 1:
        findings.append(Finding(Flaw.FRAMES, track.id, f"{track.frames} of {ladder.frames}"))
    if track.video and not all(track.index.starts_with_keyframe):
        at = track.index.starts_with_keyframe.index(False)
        findings.append(Finding(Flaw.NO_KEYFRAME, track.id, f"segment {at}"))
    longest_s = max(segment.duration_s for segment in track.index.segments)
    if longest_s > ladder.segment_s + DURATION_TOLERANCE_S:
        findings.append(Finding(Flaw.SEGMENT_LENGTH, track.id, f"{longest_s:.3f} s"))
    if track.decode_errors:
        findings.append(Finding(Flaw.NOT_DECODABLE, track.id, track.decode_errors.splitlines()[0][:200]))
    listed = byte_ranges(track.playlist)
    if listed != tuple((segment.offset, segment.length) for segment in track.index.segments):
        findings.append(Finding(Flaw.PLAYLIST, track.id, f"{len(listed)} ranges listed"))
    return findings


def _beside(first: Measured, other: Measured) -> list[Finding]:
    """Pictures of one title are cut at the same instants, to the tick."""
    if len(first.index.segments) != len(other.index.segments):
        detail = f"{len(other.index.segments)}, {first.id} has {len(first.index.segments)}"
        return [Finding(Flaw.SEGMENT_COUNT, other.id, detail)]
    pairs = zip(first.index.ticks, other.index.ticks, strict=True)
    uneven = (
        number
        for number, (mine, theirs) in enumerate(pairs)
        if mine * other.index.timescale != theirs * first.index.timescale
    )
    apart = next(uneven, None)
    return [] if apart is None else [Finding(Flaw.NOT_ALIGNED, other.id, f"segment {apart} against {first.id}")]


def _sound(picture: Measured, audio: Measured) -> list[Finding]:
    """AAC frames do not end where pictures do: a last segment of a few frames more or less is right."""
    apart = abs(len(picture.index.segments) - len(audio.index.segments))
    if apart <= AUDIO_SEGMENTS_TOLERANCE:
        return []
    detail = f"{len(audio.index.segments)}, {picture.id} has {len(picture.index.segments)}"
    return [Finding(Flaw.SEGMENT_COUNT, audio.id, detail)]
