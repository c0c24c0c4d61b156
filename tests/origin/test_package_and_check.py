from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.catalogue import FileKind, Segment
from origin import check, package
from origin.boxes import SegmentIndex
from origin.check import Flaw, Measured
from origin.ladder import AudioPlan, Ladder, SubtitlePlan, VideoPlan

VIDEO = VideoPlan("v-480", "sd", 854, 480, 1_200_000, 1_500_000, "superfast")
SMALL = VideoPlan("v-240", "sd", 426, 240, 300_000, 400_000, "superfast")
AUDIO = AudioPlan("a-und-96k", "base", 0, "und", 96_000)
LADDER = Ladder((VIDEO, SMALL), (AUDIO,), 25, 1, 100, 250)
MPD = b"""<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>
<Representation id="0" codecs="avc1.64001f"><BaseURL>v-480.mp4</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""


def index(ticks: tuple[int, ...] = (100, 100, 50), lengths: tuple[int, ...] = (1000, 2000, 300)) -> SegmentIndex:
    segments, at = [], 100
    for tick, length in zip(ticks, lengths, strict=True):
        segments.append(Segment(at, length, tick / 25))
        at += length
    return SegmentIndex((0, 49), (50, 99), tuple(segments), 25, ticks, (True,) * len(ticks))


def playlist(found: SegmentIndex) -> str:
    first, *rest = found.segments
    lines = [f"#EXT-X-BYTERANGE:{first.length}@{first.offset}", "v.mp4"]
    lines += [f"#EXT-X-BYTERANGE:{segment.length}" for segment in rest]
    return "#EXTM3U\n" + "\n".join(lines)


def measured(id_: str = "v-480", video: bool = True, found: SegmentIndex | None = None) -> Measured:
    found = found or index()
    return Measured(id_, FileKind.VIDEO if video else FileKind.AUDIO, found, 250 if video else 470, "", playlist(found))


GOOD = (measured(), measured("v-240"), measured("a-und-96k", video=False))


def flaws(*tracks: Measured) -> set[tuple[Flaw, str]]:
    return {(finding.flaw, finding.where) for finding in check.inspect(LADDER, tracks)}


def test_the_gate_opens_for_tracks_that_fit() -> None:
    assert check.inspect(LADDER, GOOD) == ()


def test_every_flaw_is_found_and_named_with_its_track() -> None:
    first, second, sound = GOOD
    assert flaws(replace(first, frames=240), second, sound) == {(Flaw.FRAMES, "v-480")}
    assert flaws(replace(first, decode_errors="bad macroblock"), second, sound) == {(Flaw.NOT_DECODABLE, "v-480")}
    assert flaws(replace(first, playlist="#EXTM3U"), second, sound) == {(Flaw.PLAYLIST, "v-480")}
    shifted = measured("v-240", found=index((99, 101, 50)))
    assert flaws(first, shifted, sound) == {(Flaw.NOT_ALIGNED, "v-240")}
    joined = measured("v-240", found=index((100, 150), (1000, 2000)))
    assert flaws(first, joined, sound) == {(Flaw.SEGMENT_COUNT, "v-240"), (Flaw.SEGMENT_LENGTH, "v-240")}
    short = measured("a-und-96k", video=False, found=index((100,), (1000,)))
    assert flaws(first, second, short) == {(Flaw.DURATION, "a-und-96k"), (Flaw.SEGMENT_COUNT, "a-und-96k")}
    dark = replace(index(), starts_with_keyframe=(True, False, True))
    assert flaws(first, measured("v-240", found=dark), sound) == {(Flaw.NO_KEYFRAME, "v-240")}


def test_subtitles_may_end_early_and_must_be_where_the_playlist_says() -> None:
    text = replace(measured("s-en", found=index((100,), (1000,))), kind=FileKind.SUBTITLES, frames=0)
    assert flaws(*GOOD, text) == set()
    assert flaws(*GOOD, replace(text, playlist="#EXTM3U")) == {(Flaw.PLAYLIST, "s-en")}
    long = replace(text, index=index((200,), (1000,)), playlist=playlist(index((200,), (1000,))))
    assert flaws(*GOOD, long) == {(Flaw.SEGMENT_LENGTH, "s-en")}


def test_subtitles_are_packaged_with_what_they_are_for() -> None:
    texts = (SubtitlePlan("s-en", "base", 0, "en"), SubtitlePlan("s-und-forced-cc", "base", 1, "und", True, True))
    asked = package.arguments(Ladder((VIDEO,), (), 25, 1, 100, 250, texts), "e", "p")
    assert asked[1] == (
        "in=e/s-en.vtt,stream=text,format=vtt+mp4,output=p/s-en.mp4,playlist_name=s-en.m3u8,"
        "hls_group_id=subtitles,hls_name=s-en,language=en,dash_roles=subtitle"
    )
    assert "language" not in asked[2]
    assert ",dash_roles=forced-subtitle,forced_subtitle=1,hls_characteristics=public.accessibility." in asked[2]


def test_sound_may_end_one_segment_apart() -> None:
    longer = measured("a-und-96k", video=False, found=index((100, 100, 49, 1), (1000, 2000, 300, 10)))
    assert flaws(GOOD[0], GOOD[1], longer) == set()


def test_byte_ranges_go_on_where_the_last_ended() -> None:
    assert check.byte_ranges("#EXT-X-BYTERANGE:10@5\nx\n#EXT-X-BYTERANGE:7\n") == ((5, 10), (15, 7))


def test_codecs_are_read_from_the_packagers_mpd() -> None:
    assert package.read_codecs(MPD) == {"v-480.mp4": "avc1.64001f"}
    with pytest.raises(package.PackageError):
        package.read_codecs(b"not xml")


def test_a_rendition_knows_its_places_and_rates() -> None:
    made = package.rendition("t1", VIDEO, LADDER, "avc1.64001f", index())
    assert made.path == "/media/t1/sd/v-480.mp4"
    assert made.playlist_path == "/media/t1/sd/v-480.m3u8"
    assert made.bandwidth_bps == 4000
    assert made.average_bandwidth_bps == 2640
    assert (made.width, made.height, made.frame_rate) == (854, 480, 25.0)


def test_a_rendition_of_text_knows_what_it_is_for() -> None:
    text = SubtitlePlan("s-en-forced-cc", "base", 1, "en", True, True)
    made = package.rendition("t1", text, LADDER, "wvtt", index())
    assert (made.forced, made.for_deaf) == (True, True)
    plain = package.rendition("t1", VIDEO, LADDER, "avc1.64001f", index())
    assert (plain.forced, plain.for_deaf) == (False, False)


def test_a_short_last_segment_does_not_set_the_peak() -> None:
    assert package.peak_bps(index((100, 100, 5), (1000, 2000, 1000))) == 4000


def test_every_file_of_a_title_has_a_group_with_its_playlist() -> None:
    files = package.publications("t1", LADDER)
    assert [(one.name.path, one.kind, one.group) for one in files] == [
        ("/media/t1/sd/v-480.mp4", FileKind.VIDEO, "t1/v-480"),
        ("/media/t1/sd/v-480.m3u8", FileKind.PLAYLIST, "t1/v-480"),
        ("/media/t1/sd/v-480-iframes.m3u8", FileKind.PLAYLIST, "t1/v-480"),
        ("/media/t1/sd/v-240.mp4", FileKind.VIDEO, "t1/v-240"),
        ("/media/t1/sd/v-240.m3u8", FileKind.PLAYLIST, "t1/v-240"),
        ("/media/t1/sd/v-240-iframes.m3u8", FileKind.PLAYLIST, "t1/v-240"),
        ("/media/t1/base/a-und-96k.mp4", FileKind.AUDIO, "t1/a-und-96k"),
        ("/media/t1/base/a-und-96k.m3u8", FileKind.PLAYLIST, "t1/a-und-96k"),
        ("/media/t1/base/manifest.mpd", FileKind.PLAYLIST, "t1/manifests"),
        ("/media/t1/base/master.m3u8", FileKind.PLAYLIST, "t1/manifests"),
        ("/media/t1/base/poster.jpg", FileKind.IMAGE, "t1/poster"),
    ]


def test_the_packager_is_told_a_language_only_where_there_is_one() -> None:
    spoken = replace_audio("en")
    assert "language=en" in " ".join(package.arguments(spoken, "e", "p"))
    assert "language" not in " ".join(package.arguments(LADDER, "e", "p"))


def replace_audio(language: str) -> Ladder:
    return Ladder((VIDEO,), (AudioPlan("a", "base", 0, language, 96_000),), 25, 1, 100, 250)
