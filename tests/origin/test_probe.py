from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from origin import probe
from origin.probe import Limits, Rejected, Rejection, SourceFacts

VIDEO = {
    "codec_type": "video",
    "codec_name": "h264",
    "width": 1280,
    "height": 720,
    "avg_frame_rate": "25/1",
    "duration": "8.0",
}
AUDIO = {"codec_type": "audio", "codec_name": "aac", "sample_rate": "48000", "channels": 2, "tags": {"language": "eng"}}
LIMITS = Limits(min_duration_s=2.0)


def answer(*streams: dict[str, object], name: str = "mov,mp4", duration: str = "8.0") -> bytes:
    return json.dumps({"streams": streams, "format": {"format_name": name, "duration": duration}}).encode()


def facts(*streams: dict[str, object]) -> SourceFacts:
    found = probe.read_streams(answer(*streams))
    assert isinstance(found, SourceFacts)
    return found


def packets(count: int, length: float = 0.04) -> bytes:
    return "".join(f"{number * length:.6f},{length:.6f}\n" for number in range(count)).encode()


def rejected(verdict: object) -> Rejected:
    assert isinstance(verdict, Rejected)
    return verdict


def test_picture_and_sound_are_read() -> None:
    found = facts(AUDIO, VIDEO)
    assert (found.width, found.height, found.rate_num, found.rate_den) == (1280, 720, 25, 1)
    assert [(a.stream, a.language) for a in found.audios] == [(0, "eng")]


def test_a_cover_picture_is_no_video() -> None:
    cover = {**VIDEO, "codec_name": "mjpeg", "disposition": {"attached_pic": 1}}
    verdict = rejected(probe.read_streams(answer(AUDIO, cover)))
    assert verdict.words == "The file has no video stream: it holds sound only"


def test_a_cover_picture_before_the_video_is_stepped_over() -> None:
    cover = {**VIDEO, "codec_name": "mjpeg", "disposition": {"attached_pic": 1}}
    assert facts(cover, VIDEO).video_stream == 1


def _text(index: int, codec: str = "mov_text", **disposition: int) -> dict[str, object]:
    return {
        "codec_type": "subtitle",
        "codec_name": codec,
        "index": index,
        "disposition": disposition,
        "tags": {"language": "eng"},
    }


def test_subtitles_of_text_are_read_with_what_they_are_for() -> None:
    found = facts(
        VIDEO, AUDIO, _text(2), _text(3, "dvd_subtitle"), _text(4, "subrip", forced=1), _text(5, hearing_impaired=1)
    )
    assert [(one.stream, one.index, one.codec, one.forced, one.for_deaf) for one in found.subtitles] == [
        (0, 2, "mov_text", False, False),
        (2, 4, "subrip", True, False),
        (3, 5, "mov_text", False, True),
    ]
    assert {one.language for one in found.subtitles} == {"eng"}


def test_subtitles_without_a_word_before_the_end_are_none() -> None:
    found = facts(VIDEO, _text(1), _text(2, "subrip"), _text(3), _text(4, "subrip"))
    answer = b"1,0.000000,2\n1,5.000000,4\n2,1.000000,1\n3,0.000000,2\n3,1.000000,2\n4,30.000000,7\nnonsense\n4,N/A,\n"
    assert [one.index for one in probe.with_words(found, answer).subtitles] == [1, 2]
    assert probe.with_words(found, b"").subtitles == ()


def test_a_still_image_is_named_as_such() -> None:
    assert rejected(probe.read_streams(answer(VIDEO, name="png_pipe"))).detail == "it is a still image"


def test_a_turned_picture_is_measured_upright_and_with_square_pixels() -> None:
    turned = facts({**VIDEO, "side_data_list": [{"rotation": -90}]})
    assert (turned.width, turned.height) == (720, 1280)
    wide = facts({**VIDEO, "width": 720, "height": 576, "sample_aspect_ratio": "64:45"})
    assert (wide.width, wide.height) == (1024, 576)


def test_a_track_without_a_language_takes_that_of_the_title() -> None:
    silent = {**AUDIO, "tags": {"language": "und"}}
    found = probe.read_streams(answer(VIDEO, silent), language="de")
    assert isinstance(found, SourceFacts)
    assert found.audios[0].language == "de"


def test_the_measured_duration_replaces_the_announced_one() -> None:
    found = probe.judge(facts(VIDEO), packets(199), "", LIMITS)
    assert isinstance(found, SourceFacts)
    assert found.packets == 199
    assert abs(found.duration_s - 7.96) < 1e-6


def test_a_header_that_promises_more_than_the_body_holds_means_truncated() -> None:
    verdict = rejected(probe.judge(facts(VIDEO), packets(100), "", LIMITS))
    assert verdict.reason is Rejection.TRUNCATED
    assert verdict.words == "The file is truncated: its picture ends at 4.0 s, its header announces 8.0 s"


def test_a_short_video_is_rejected_with_both_lengths() -> None:
    short = {**VIDEO, "duration": "1.0"}
    verdict = rejected(probe.judge(facts(short), packets(25), "", LIMITS))
    assert verdict.words == "The video is too short: 1.00 s, at least 2 s are needed"


def test_a_tiny_picture_is_rejected() -> None:
    verdict = rejected(probe.judge(facts({**VIDEO, "height": 8}), packets(200), "", LIMITS))
    assert verdict.reason is Rejection.TOO_SMALL


def test_why_a_file_could_not_be_opened_is_told_from_what_ffprobe_said() -> None:
    assert probe.refused("[mov] moov atom not found").reason is Rejection.TRUNCATED
    assert probe.refused("source: Invalid data found when processing input").reason is Rejection.NOT_MEDIA


def test_playlists_and_network_addresses_are_never_opened() -> None:
    for given_arguments in (probe.stream_arguments("x"), probe.packet_arguments("x", 0)):
        at = given_arguments.index("-format_whitelist")
        formats = given_arguments[at + 1].split(",")
        assert not {"hls", "concat", "dash", "image2", "tty"} & set(formats)
        assert given_arguments[given_arguments.index("-protocol_whitelist") + 1] == "file"


@given(st.binary(max_size=200))
def test_whatever_ffprobe_writes_is_read_as_facts_or_a_verdict(noise: bytes) -> None:
    assert isinstance(probe.read_streams(noise), (Rejected, SourceFacts))
    verdict = probe.judge(facts(VIDEO), noise, "", LIMITS)
    assert isinstance(verdict, (Rejected, SourceFacts))


def test_facts_survive_the_way_through_a_file() -> None:
    found = facts(VIDEO, AUDIO)
    assert msgspec.json.decode(msgspec.json.encode(found), type=SourceFacts) == found
