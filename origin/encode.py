"""How a source becomes the pictures and sounds of its ladder: chunks, ffmpeg's arguments, its progress. Pure.

A chunk is a whole number of segments, so that every chunk opens with a keyframe and chunks join without encoding again.
All pictures of a chunk come from one decode. Sound is encoded once over the whole title (AAC frames do not end where
chunks do). A title of one chunk is a single command for everything.

Laws: frame k of the output shows the source at k / rate, whatever the chunk it falls in; no chunk has a frame more or less
than planned; keyframes are every `gop_frames`, closed, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import msgspec

from origin.ladder import AudioPlan, Ladder, SubtitlePlan, VideoPlan
from origin.probe import FORMATS, SourceFacts

AUDIO_RATE_HZ = 48_000
BUFFER_S = 2
POSTER_LINES = 360
POSTER_AT = 0.1
PROGRESS_INTERVAL_S = "0.25"
TICKS_PER_FRAME = 512


class Chunk(msgspec.Struct, frozen=True):
    """Frames [first, first + frames) of the output."""

    number: int
    first: int
    frames: int


class EncodePlan(msgspec.Struct, frozen=True):
    """All work of the encode stage."""

    source: SourceFacts
    ladder: Ladder
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """One ffmpeg command: the pictures of a chunk, the sounds, or both; or the subtitles. `weight` is its share of the work."""

    name: str
    chunk: Chunk | None
    audio: bool
    weight: float
    text: bool = False


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of the machine one command may take."""

    threads: int
    scaler: str = "bicubic"
    audio_coder: str = "twoloop"


AUDIO_WEIGHT = 0.05


def plan_chunks(ladder: Ladder, chunk_s: float) -> tuple[Chunk, ...]:
    """Chunks of about `chunk_s` seconds, whole segments each; the last takes the rest and is never under half of one."""
    segments = max(1, round(chunk_s / ladder.segment_s))
    step = segments * ladder.gop_frames
    count = max(1, round(ladder.frames / step))
    firsts = [number * step for number in range(count)]
    ends = [*firsts[1:], ladder.frames]
    return tuple(
        Chunk(number, first, end - first) for number, (first, end) in enumerate(zip(firsts, ends, strict=True))
    )


def units(plan: EncodePlan) -> tuple[Unit, ...]:
    """The commands of a plan. They are independent; their weights add up to 1."""
    text = (Unit("subtitles", None, False, 0.0, text=True),) if plan.ladder.subtitles else ()
    if len(plan.chunks) == 1:
        return (Unit("chunk-0000", plan.chunks[0], bool(plan.ladder.audios), 1.0), *text)
    sound = AUDIO_WEIGHT if plan.ladder.audios else 0.0
    pictures = tuple(
        Unit(f"chunk-{chunk.number:04d}", chunk, False, (1 - sound) * chunk.frames / plan.ladder.frames)
        for chunk in plan.chunks
    )
    return (*pictures, Unit("audio", None, True, sound), *text) if sound else (*pictures, *text)


def outputs(plan: EncodePlan, unit: Unit) -> tuple[str, ...]:
    """File names that a unit makes in its folder."""
    videos = [f"{video.id}.mp4" for video in plan.ladder.videos if unit.chunk]
    audios = [f"{audio.id}.mp4" for audio in plan.ladder.audios if unit.audio]
    subtitles = [text_file(subtitle) for subtitle in plan.ladder.subtitles if unit.text]
    return (*videos, *audios, *subtitles)


def text_file(subtitle: SubtitlePlan) -> str:
    """The name of a track of subtitles between encoding and packaging."""
    return f"{subtitle.id}.vtt"


def arguments(plan: EncodePlan, unit: Unit, source: str, folder: str, effort: Effort) -> tuple[str, ...]:
    """ffmpeg's arguments for one unit, writing into `folder`."""
    given: list[str] = [*_opening(), *_seek(plan.ladder, unit.chunk), "-threads", str(effort.threads), *_input(source)]
    if unit.chunk is not None:
        given += ["-filter_complex", video_graph(plan, effort.scaler)]
        for number, video in enumerate(plan.ladder.videos):
            given += _video_output(plan.ladder, unit.chunk, number, video, effort.threads)
            given.append(f"{folder}/{video.id}.mp4")
    if unit.audio:
        for audio in plan.ladder.audios:
            given += _audio_output(plan.ladder, audio, effort.audio_coder)
            given.append(f"{folder}/{audio.id}.mp4")
    for subtitle in plan.ladder.subtitles if unit.text else ():
        given += ["-map", f"0:s:{subtitle.stream}", "-t", f"{plan.ladder.duration_s:.6f}", "-map_metadata", "-1"]
        given += ["-c:s", "webvtt", "-f", "webvtt", f"{folder}/{text_file(subtitle)}"]
    return tuple(given)


def video_graph(plan: EncodePlan, scaler: str) -> str:
    """One decode to a constant frame rate, split to every picture of the ladder."""
    steady = [f"fps=fps={plan.ladder.rate_num}/{plan.ladder.rate_den}:start_time=0:round=near"]
    if plan.source.interlaced:
        steady.insert(0, "bwdif=mode=send_frame")
    videos = plan.ladder.videos
    taps = "".join(f"[s{number}]" for number in range(len(videos)))
    head = f"[0:v:{plan.source.video_stream}]{','.join(steady)},split={len(videos)}{taps}"
    scaled = [
        f"[s{number}]scale={video.width}:{video.height}:flags={scaler},setsar=1,format=yuv420p[v{number}]"
        for number, video in enumerate(videos)
    ]
    return ";".join((head, *scaled))


def join_list(plan: EncodePlan, video: VideoPlan) -> str:
    """A script for ffmpeg's concat demuxer: the chunks of one picture, with their exact durations."""
    lines = ["ffconcat version 1.0"]
    for chunk in plan.chunks:
        length = Fraction(chunk.frames) / plan.ladder.rate
        lines += [f"file chunk-{chunk.number:04d}/{video.id}.mp4", f"duration {float(length):.6f}"]
    return "\n".join((*lines, ""))


def join_arguments(plan: EncodePlan, script: str, output: str) -> tuple[str, ...]:
    """ffmpeg's arguments that join the chunks of one picture without encoding again."""
    script_input = ("-f", "concat", "-safe", "1", "-i", script)
    return (*_opening(), *script_input, "-map", "0:v:0", "-c", "copy", *_mp4(plan.ladder), output)


def poster_arguments(plan: EncodePlan, picture: str, output: str) -> tuple[str, ...]:
    """ffmpeg's arguments that take a still from an encoded picture."""
    at_s = plan.ladder.duration_s * POSTER_AT
    still = ("-map", "0:v:0", "-frames:v", "1", "-vf", f"scale=-2:{POSTER_LINES}", "-q:v", "4", "-f", "image2")
    return (*_opening(), "-ss", f"{at_s:.3f}", "-i", picture, *still, "-update", "1", output)


class Progress:
    """Reads what `-progress` writes. Feed lines, ask `done`: the share in 0..1 of `duration_s` that is encoded."""

    def __init__(self, duration_s: float) -> None:
        self._duration_us = max(1.0, duration_s * 1_000_000)
        self.done = 0.0
        self.speed = 0.0

    def feed(self, line: str) -> bool:
        """True when `done` has grown."""
        name, _, value = line.strip().partition("=")
        if name == "speed":
            self.speed = _number(value.rstrip("x"))
        if name == "progress" and value == "end":
            return self._reach(1.0)
        return name == "out_time_us" and self._reach(_number(value) / self._duration_us)

    def _reach(self, share: float) -> bool:
        grown = min(1.0, share) > self.done
        self.done = max(self.done, min(1.0, share))
        return grown


def _opening() -> list[str]:
    return ["-hide_banner", "-nostdin", "-y", "-v", "error", "-nostats", "-xerror"]


def _input(source: str) -> list[str]:
    reading = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS), "-i", source]
    return [*reading, "-progress", "pipe:1", "-stats_period", PROGRESS_INTERVAL_S]


def _seek(ladder: Ladder, chunk: Chunk | None) -> list[str]:
    """A quarter of a frame early, so that rounding never skips the first frame of a chunk."""
    if chunk is None or chunk.first == 0:
        return []
    start = (Fraction(chunk.first) - Fraction(1, 4)) / ladder.rate
    return ["-ss", f"{float(start):.6f}"]


def _video_output(ladder: Ladder, chunk: Chunk, number: int, video: VideoPlan, threads: int) -> list[str]:
    gop = str(ladder.gop_frames)
    return [
        *("-map", f"[v{number}]", "-frames:v", str(chunk.frames), "-an", "-sn"),
        *("-c:v", "libx264", "-preset", video.preset, "-threads", str(threads), "-profile:v", "high"),
        *("-b:v", str(video.bitrate_bps), "-maxrate", str(video.max_rate_bps)),
        *("-bufsize", str(BUFFER_S * video.max_rate_bps)),
        *("-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-flags", "+cgop"),
        *_mp4(ladder),
    ]


def _audio_output(ladder: Ladder, audio: AudioPlan, coder: str) -> list[str]:
    """Starts with the picture and ends with it: gaps are filled, a short track is padded with silence."""
    fitted = f"aresample={AUDIO_RATE_HZ}:async=1:first_pts=0,apad,atrim=end={ladder.duration_s:.6f}"
    return [
        *("-map", f"0:a:{audio.stream}", "-vn", "-sn", "-af", fitted),
        *(
            "-c:a",
            "aac",
            "-aac_coder",
            coder,
            "-b:a",
            str(audio.bitrate_bps),
            "-ac",
            str(audio.channels),
            "-ar",
            str(AUDIO_RATE_HZ),
        ),
        *("-metadata:s:a:0", f"language={audio.language}", "-map_metadata", "-1", "-f", "mp4"),
    ]


def _mp4(ladder: Ladder) -> list[str]:
    """A time scale in which every frame has a whole length; nothing of the source's own tags."""
    scale = ladder.rate_num * (1 if ladder.rate_den > 1 else TICKS_PER_FRAME)
    return ["-video_track_timescale", str(scale), "-map_metadata", "-1", "-f", "mp4"]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
