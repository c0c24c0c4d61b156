"""Playlists as HLS writes them: ours, and what others might."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from player.playlists import MediaPlaylist, parse_media, parse_multivariant
from player.presentation import Address, BadManifest, Dialect, SegmentRange, SteeringTag

MASTER = """#EXTM3U
#EXT-X-VERSION:7
# a comment

#EXT-X-CONTENT-STEERING:SERVER-URI="/steer?a=1,b",PATHWAY-ID="two"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g1",NAME="English, stereo",STABLE-RENDITION-ID="en",URI="a/one.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g2",NAME="English, stereo",STABLE-RENDITION-ID="en",URI="http://two/a.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="en",URI="s.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,AUDIO="g1",STABLE-VARIANT-ID="high",PATHWAY-ID="one"
v/high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,AUDIO="g1",STABLE-VARIANT-ID="low",PATHWAY-ID="one"
v/low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,AUDIO="g2",STABLE-VARIANT-ID="low",PATHWAY-ID="two"
http://two/low.m3u8
"""
MEDIA = """#EXTM3U
#EXT-X-MAP:URI="v.mp4",BYTERANGE="100@0"
#EXTINF:4.000,
#EXT-X-BYTERANGE:1000@200
v.mp4
#EXTINF:2.5,a title, with a comma
#EXT-X-BYTERANGE:500
v.mp4
#EXT-X-ENDLIST
"""


def test_a_variant_is_one_over_all_pathways_and_its_audio_goes_with_it() -> None:
    found = parse_multivariant(MASTER, "http://one/x/master.m3u8")
    assert [track.id for track in found.video] == ["low", "high"]
    assert found.video[0].addresses == (
        Address("http://one/x/v/low.m3u8", "one"),
        Address("http://two/low.m3u8", "two"),
    )
    assert (found.video[1].bandwidth_bps, found.video[1].height, found.video[1].playlist) == (900_000, 360, True)
    assert [(track.id, track.addresses) for track in found.audio] == [
        ("en", (Address("http://one/x/a/one.m3u8", "one"), Address("http://two/a.m3u8", "two")))
    ]
    assert found.steering == SteeringTag("http://one/steer?a=1,b", "two", Dialect.HLS)
    assert math.isinf(found.duration_s)


def test_a_variant_that_names_no_pathway_is_in_the_default_one_and_so_is_its_audio() -> None:
    found = parse_multivariant(MASTER.replace(',PATHWAY-ID="one"', ""), "http://one/x/master.m3u8")
    assert [address.location for address in found.video[0].addresses] == [".", "two"]
    assert [address.location for address in found.audio[0].addresses] == [".", "two"]


def test_segments_follow_one_another_where_no_offset_is_said() -> None:
    assert parse_media(MEDIA) == MediaPlaylist(
        "v.mp4", (0, 99), (SegmentRange(200, 1000, 0.0, 4.0), SegmentRange(1200, 500, 4.0, 2.5))
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a playlist"),
        ("<MPD/>", "not a playlist"),
        ("#EXTM3U\n", "no variants"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=x\na.m3u8\n", "BANDWIDTH=x is no number"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-ENDLIST\n", "without an address"),
    ],
)
def test_what_is_no_multivariant_playlist_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        parse_multivariant(text, "http://h/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (MEDIA.replace("1000@200", "0@200"), "is not a byte range"),
        (MEDIA.replace("1000@200", "many"), "is not a byte range"),
        (MEDIA.replace("4.000", "nan"), "is no duration"),
        (MEDIA.replace("4.000", "soon"), "is no duration"),
        (MEDIA.replace("#EXT-X-BYTERANGE:1000@200\n", ""), "without EXT-X-BYTERANGE"),
        (MEDIA.replace('#EXT-X-MAP:URI="v.mp4"', '#EXT-X-MAP:URI="w.mp4"'), "not a playlist of one file"),
        ("#EXTM3U\n", "not a playlist of one file"),
    ],
)
def test_what_is_no_media_playlist_of_one_file_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        parse_media(text)


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text: str) -> None:
    for whole in (text, f"#EXTM3U\n{text}"):
        for read in (parse_media, lambda found: parse_multivariant(found, "http://h/x")):
            try:
                read(whole)
            except BadManifest:
                continue
