"""The encode ladder: which pictures, sounds and subtitles are made of a source. Pure.

Laws: never upscale (a source smaller than every rung gets one picture of its own size); frame rates are constant and
keyframes fall on a fixed grid of frames, the same in every rendition, so that any segment of one can follow any of
another; names and tiers are those of docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import msgspec
from annotated_types import Ge, Gt, Le, Len
from typing_extensions import Doc

from origin.probe import AudioFacts, SourceFacts, SubtitleFacts

SEGMENT_S = 4
MAX_FRAME_RATE = 60
MIN_SIDE = 16
STANDARD_RATES = (
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(48),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(60),
)
RATE_TOLERANCE = Fraction(1, 500)
SD_MAX = 480
HD_MAX = 1080
STEREO = 2
SURROUND = 6
SURROUND_RATE = 3
"""5.1 has three times the channels of stereo, and takes as much for each."""
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder."""

    height: Annotated[
        int, Ge(MIN_SIDE), Le(4320), Doc("Lines of the picture; the shorter side where the source stands upright.")
    ]
    bitrate_bps: Annotated[int, Gt(0), Doc("Mean video rate aimed at, in bits per second.")]
    max_rate_bps: Annotated[int, Gt(0), Doc("Highest video rate over two seconds, in bits per second.")]
    preset: Annotated[str, Len(1, 20), Doc("x264 preset, from ultrafast to veryslow.")] = "superfast"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if self.max_rate_bps < self.bitrate_bps:
            raise ValueError(f"max_rate_bps {self.max_rate_bps} is below bitrate_bps {self.bitrate_bps}")


DEFAULT_RUNGS = (
    Rung(480, 1_200_000, 1_500_000),
    Rung(360, 700_000, 900_000),
    Rung(240, 300_000, 400_000),
)


class VideoPlan(msgspec.Struct, frozen=True):
    """One picture to make. `width` and `height` are even; pixels are square."""

    id: str
    tier: str
    width: int
    height: int
    bitrate_bps: int
    max_rate_bps: int
    preset: str


class AudioPlan(msgspec.Struct, frozen=True):
    """One sound track to make: AAC, 48 kHz. `stream` counts the source's audio streams from 0."""

    id: str
    tier: str
    stream: int
    language: str
    bitrate_bps: int
    channels: int = STEREO


class SubtitlePlan(msgspec.Struct, frozen=True):
    """One track of WebVTT to make. `stream` counts the source's subtitle streams from 0."""

    id: str
    tier: str
    stream: int
    language: str
    forced: bool = False
    for_deaf: bool = False


Track = VideoPlan | AudioPlan | SubtitlePlan


class Ladder(msgspec.Struct, frozen=True):
    """Everything to encode. The frame rate is `rate_num / rate_den`; a keyframe opens every `gop_frames`."""

    videos: tuple[VideoPlan, ...]
    audios: tuple[AudioPlan, ...]
    rate_num: int
    rate_den: int
    gop_frames: int
    frames: int
    subtitles: tuple[SubtitlePlan, ...] = ()

    @property
    def tracks(self) -> tuple[Track, ...]:
        return (*self.videos, *self.audios, *self.subtitles)

    @property
    def rate(self) -> Fraction:
        return Fraction(self.rate_num, self.rate_den)

    @property
    def segment_s(self) -> float:
        """Seconds from keyframe to keyframe: 4, or 4.004 at NTSC rates."""
        return float(self.gop_frames / self.rate)

    @property
    def duration_s(self) -> float:
        return float(self.frames / self.rate)


def plan_ladder(source: SourceFacts, rungs: tuple[Rung, ...], audio_bps: int) -> Ladder:
    """The ladder of a source that `probe.judge` accepted; the tallest picture first."""
    rate = output_rate(Fraction(source.rate_num, source.rate_den))
    return Ladder(
        videos=_videos(source, rungs),
        audios=_audios(source.audios, audio_bps),
        rate_num=rate.numerator,
        rate_den=rate.denominator,
        gop_frames=round(SEGMENT_S * rate),
        frames=max(1, round(Fraction(source.duration_s).limit_denominator(1_000_000) * rate)),
        subtitles=_subtitles(source.subtitles),
    )


def output_rate(rate: Fraction) -> Fraction:
    """The nearest usual frame rate within 0.2 %, else the nearest whole one; at most 60, at least 1."""
    nearest = min(STANDARD_RATES, key=lambda usual: abs(usual - rate))
    if abs(nearest - rate) <= nearest * RATE_TOLERANCE:
        return nearest
    return Fraction(min(MAX_FRAME_RATE, max(1, round(rate))))


def tier_of(lines: int) -> str:
    """What an entitlement must include to get a picture of so many lines (shorter side)."""
    if lines <= SD_MAX:
        return "sd"
    return "hd" if lines <= HD_MAX else "uhd"


def _videos(source: SourceFacts, rungs: tuple[Rung, ...]) -> tuple[VideoPlan, ...]:
    short = min(source.width, source.height)
    ordered = sorted(rungs, key=lambda rung: rung.height, reverse=True)
    fitting = [rung for rung in ordered if rung.height <= short]
    if fitting:
        return tuple(_video(source, rung, rung.height) for rung in fitting)
    return (_video(source, ordered[-1], short),)


def _video(source: SourceFacts, rung: Rung, lines: int) -> VideoPlan:
    scale = Fraction(lines, min(source.width, source.height))
    return VideoPlan(
        id=f"v-{_even(Fraction(lines))}",
        tier=tier_of(lines),
        width=_even(source.width * scale),
        height=_even(source.height * scale),
        bitrate_bps=rung.bitrate_bps,
        max_rate_bps=rung.max_rate_bps,
        preset=rung.preset,
    )


def _audios(audios: tuple[AudioFacts, ...], bitrate_bps: int) -> tuple[AudioPlan, ...]:
    """The first track of each language in stereo, and the first that has them in 5.1 channels. All stereo comes first."""
    stereo: dict[str, AudioPlan] = {}
    surround: dict[str, AudioPlan] = {}
    for audio in audios:
        said, rate = audio.language, bitrate_bps * SURROUND_RATE
        stereo.setdefault(said, AudioPlan(f"a-{said}-{bitrate_bps // 1000}k", "base", audio.stream, said, bitrate_bps))
        if audio.channels >= SURROUND:
            name = f"a-{said}-51-{rate // 1000}k"
            surround.setdefault(said, AudioPlan(name, "base", audio.stream, said, rate, SURROUND))
    return (*stereo.values(), *surround.values())


def _subtitles(subtitles: tuple[SubtitleFacts, ...]) -> tuple[SubtitlePlan, ...]:
    """The first track of each language, and of those that are forced or for the deaf."""
    first: dict[str, SubtitlePlan] = {}
    for one in subtitles:
        name = f"s-{one.language}{'-forced' if one.forced else ''}{'-cc' if one.for_deaf else ''}"
        first.setdefault(name, SubtitlePlan(name, "base", one.stream, one.language, one.forced, one.for_deaf))
    return tuple(first.values())


def _even(value: Fraction) -> int:
    """The nearest even number, at least 2: 4:2:0 pictures have even sides."""
    return max(2, 2 * round(value / 2))
