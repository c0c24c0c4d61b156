from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin import encode
from origin.encode import Effort, EncodePlan, Progress
from origin.ladder import DEFAULT_RUNGS, Ladder, plan_ladder
from origin.probe import AudioFacts, SourceFacts

EFFORT = Effort(threads=2)


def plan(
    chunk_s: float, duration_s: float = 60.0, rate: tuple[int, int] = (25, 1), interlaced: bool = False
) -> EncodePlan:
    facts = SourceFacts(
        container="mov",
        duration_s=duration_s,
        video_stream=0,
        video_codec="h264",
        width=1280,
        height=720,
        rate_num=rate[0],
        rate_den=rate[1],
        interlaced=interlaced,
        audios=(AudioFacts(0, "aac", 2, 48000),),
    )
    ladder = plan_ladder(facts, DEFAULT_RUNGS, 96_000)
    return EncodePlan(facts, ladder, encode.plan_chunks(ladder, chunk_s))


def ladder_of(frames: int, gop: int) -> Ladder:
    return Ladder(videos=(), audios=(), rate_num=gop, rate_den=4, gop_frames=gop, frames=frames)


@given(st.integers(1, 500_000), st.sampled_from([96, 100, 120, 240]), st.floats(0.1, 10_000))
def test_chunks_cover_every_frame_once_and_open_with_a_keyframe(frames: int, gop: int, chunk_s: float) -> None:
    chunks = encode.plan_chunks(ladder_of(frames, gop), chunk_s)
    assert chunks[0].first == 0
    assert sum(chunk.frames for chunk in chunks) == frames
    assert [chunk.first % gop for chunk in chunks] == [0] * len(chunks)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    for before, after in itertools.pairwise(chunks):
        assert before.first + before.frames == after.first
    assert all(chunk.frames > 0 for chunk in chunks)


def test_a_short_title_is_one_command_for_pictures_and_sound() -> None:
    short = plan(chunk_s=120)
    units = encode.units(short)
    assert [(unit.name, unit.audio) for unit in units] == [("chunk-0000", True)]
    assert encode.outputs(short, units[0]) == ("v-480.mp4", "v-360.mp4", "v-240.mp4", "a-und-96k.mp4")


def test_a_long_title_is_a_command_per_chunk_and_one_for_sound_and_they_weigh_one() -> None:
    units = encode.units(plan(chunk_s=20))
    assert [unit.name for unit in units] == ["chunk-0000", "chunk-0001", "chunk-0002", "audio"]
    assert sum(unit.weight for unit in units) == pytest.approx(1.0)


def test_one_decode_feeds_every_picture() -> None:
    graph = encode.video_graph(plan(chunk_s=120), "bicubic")
    assert graph.count("[0:v:0]") == 1
    assert "split=3[s0][s1][s2]" in graph
    assert "[s2]scale=426:240:flags=bicubic,setsar=1,format=yuv420p[v2]" in graph
    assert "bwdif" not in graph
    assert "bwdif" in encode.video_graph(plan(chunk_s=120, interlaced=True), "bicubic")


def test_keyframes_are_fixed_by_frame_count_and_nowhere_else() -> None:
    short = plan(chunk_s=120)
    given_arguments = encode.arguments(short, encode.units(short)[0], "/s", "out", EFFORT)
    text = " ".join(given_arguments)
    assert text.count("-g 100 -keyint_min 100 -sc_threshold 0 -flags +cgop") == 3
    assert text.count("-frames:v 1500") == 3
    assert "-ss" not in given_arguments


def test_a_later_chunk_begins_a_quarter_frame_early() -> None:
    long = plan(chunk_s=20, rate=(30000, 1001))
    unit = encode.units(long)[1]
    given_arguments = encode.arguments(long, unit, "/s", "out", EFFORT)
    assert unit.chunk is not None
    start = float(given_arguments[given_arguments.index("-ss") + 1])
    assert start == pytest.approx(float((Fraction(unit.chunk.first) - Fraction(1, 4)) * 1001 / 30000), abs=1e-6)


def test_the_join_script_names_chunks_with_their_exact_lengths() -> None:
    script = encode.join_list(plan(chunk_s=40), plan(chunk_s=40).ladder.videos[0])
    assert script.splitlines() == [
        "ffconcat version 1.0",
        "file chunk-0000/v-480.mp4",
        "duration 40.000000",
        "file chunk-0001/v-480.mp4",
        "duration 20.000000",
    ]


def test_progress_grows_and_never_falls() -> None:
    progress = Progress(duration_s=10.0)
    assert not progress.feed("out_time_us=N/A")
    assert progress.feed("out_time_us=2500000\n")
    assert not progress.feed("out_time_us=1000000")
    assert progress.done == 0.25
    progress.feed("speed=6.31x")
    assert progress.speed == 6.31
    assert progress.feed("out_time_us=99000000")
    assert progress.done == 1.0
    assert not progress.feed("progress=end")


@given(st.text(max_size=60))
def test_progress_survives_any_line(line: str) -> None:
    progress = Progress(1.0)
    progress.feed(line)
    assert 0.0 <= progress.done <= 1.0
