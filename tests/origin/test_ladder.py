from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.ladder import DEFAULT_RUNGS, Rung, output_rate, plan_ladder, tier_of
from origin.probe import AudioFacts, SourceFacts, SubtitleFacts


def source(width: int = 1280, height: int = 720, rate: tuple[int, int] = (25, 1), **others: object) -> SourceFacts:
    facts = {"duration_s": 60.0, "audios": (AudioFacts(0, "aac", 6, 48000, "und"),), **others}
    return SourceFacts(
        container="mov",
        video_stream=0,
        video_codec="h264",
        width=width,
        height=height,
        rate_num=rate[0],
        rate_den=rate[1],
        interlaced=False,
        **facts,  # type: ignore[arg-type]
    )


def test_a_720p_source_gets_every_rung_tallest_first() -> None:
    ladder = plan_ladder(source(), DEFAULT_RUNGS, 96_000)
    assert [(v.id, v.width, v.height) for v in ladder.videos] == [
        ("v-480", 854, 480),
        ("v-360", 640, 360),
        ("v-240", 426, 240),
    ]
    assert [(a.id, a.channels) for a in ladder.audios] == [("a-und-96k", 2), ("a-und-51-288k", 6)]
    assert (ladder.gop_frames, ladder.frames, ladder.segment_s) == (100, 1500, 4.0)


def test_each_language_is_heard_in_stereo_and_in_more_channels_where_the_source_has_them() -> None:
    told = [("eng", 2), ("deu", 8), ("eng", 6), ("deu", 6), ("fra", 1)]
    audios = tuple(AudioFacts(n, "ac3", channels, 48000, said) for n, (said, channels) in enumerate(told))
    made = plan_ladder(source(audios=audios), DEFAULT_RUNGS, 64_000).audios
    assert [(a.id, a.stream, a.channels, a.bitrate_bps) for a in made] == [
        ("a-eng-64k", 0, 2, 64_000),
        ("a-deu-64k", 1, 2, 64_000),
        ("a-fra-64k", 4, 2, 64_000),
        ("a-deu-51-192k", 1, 6, 192_000),
        ("a-eng-51-192k", 2, 6, 192_000),
    ]


def test_each_language_and_purpose_of_subtitles_is_made_once() -> None:
    told = [("eng", False, False), ("eng", False, False), ("eng", True, False), ("deu", False, True)]
    texts = tuple(SubtitleFacts(n, n + 2, "subrip", *one) for n, one in enumerate(told))
    ladder = plan_ladder(source(subtitles=texts), DEFAULT_RUNGS, 96_000)
    assert [(one.id, one.stream) for one in ladder.subtitles] == [("s-eng", 0), ("s-eng-forced", 2), ("s-deu-cc", 3)]
    assert ladder.tracks[-3:] == ladder.subtitles
    assert {one.tier for one in ladder.subtitles} == {"base"}


def test_an_upright_source_is_measured_by_its_shorter_side() -> None:
    ladder = plan_ladder(source(720, 1280), DEFAULT_RUNGS, 96_000)
    assert [(v.width, v.height) for v in ladder.videos] == [(480, 854), (360, 640), (240, 426)]


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_no_picture_is_larger_than_its_source_and_all_sides_are_even(width: int, height: int) -> None:
    for video in plan_ladder(source(width, height), DEFAULT_RUNGS, 96_000).videos:
        assert video.width % 2 == 0
        assert video.height % 2 == 0
        assert video.width <= width + 1
        assert video.height <= height + 1


def test_a_source_below_the_ladder_gets_one_picture_of_its_own_size() -> None:
    ladder = plan_ladder(source(160, 90), DEFAULT_RUNGS, 96_000)
    assert [(v.id, v.width, v.height) for v in ladder.videos] == [("v-90", 160, 90)]
    assert ladder.videos[0].bitrate_bps == DEFAULT_RUNGS[-1].bitrate_bps


@pytest.mark.parametrize(
    ("given_rate", "wanted"),
    [
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(497, 20), Fraction(25)),
        (Fraction(25), Fraction(25)),
        (Fraction(120), Fraction(60)),
        (Fraction(15), Fraction(15)),
        (Fraction(1, 3), Fraction(1)),
    ],
)
def test_frame_rates_are_rounded_to_usual_ones(given_rate: Fraction, wanted: Fraction) -> None:
    assert output_rate(given_rate) == wanted


def test_at_ntsc_rates_a_segment_is_a_whole_number_of_frames() -> None:
    ladder = plan_ladder(source(rate=(30000, 1001)), DEFAULT_RUNGS, 96_000)
    assert ladder.gop_frames == 120
    assert ladder.segment_s == pytest.approx(4.004)


def test_each_language_gets_its_first_track_and_its_first_with_more_channels() -> None:
    audios = (
        AudioFacts(0, "aac", 2, 48000, "en"),
        AudioFacts(1, "ac3", 6, 48000, "en"),
        AudioFacts(2, "aac", 2, 1, "de"),
    )
    ladder = plan_ladder(source(audios=audios), DEFAULT_RUNGS, 64_000)
    assert [(a.id, a.stream) for a in ladder.audios] == [("a-en-64k", 0), ("a-de-64k", 2), ("a-en-51-192k", 1)]


def test_tiers_follow_the_lines() -> None:
    assert [tier_of(lines) for lines in (240, 480, 720, 1080, 2160)] == ["sd", "sd", "hd", "hd", "uhd"]


def test_a_rung_whose_peak_is_below_its_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="below bitrate_bps"):
        Rung(480, 1_000_000, 900_000)
    with pytest.raises(ValueError, match="preset"):
        Rung(480, 1_000_000, 1_000_000, "warp")
