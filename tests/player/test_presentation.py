"""Manifests and segment indexes as DASH writes them."""

from __future__ import annotations

import struct

import pytest

from player.presentation import Address, BadManifest, parse_duration, parse_mpd, parse_sidx

MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1M0.5S">
 <Period>
  <AdaptationSet contentType="video">
   <Representation id="v-480" bandwidth="1200000" width="854" height="480">
    <BaseURL serviceLocation="pathway-1">http://127.1.0.11:80/~t/media/x/sd/v-480.mp4</BaseURL>
    <BaseURL serviceLocation="origin">http://127.0.0.1:81/~t/media/x/sd/v-480.mp4</BaseURL>
    <SegmentBase indexRange="800-900"><Initialization range="0-799"/></SegmentBase>
   </Representation>
   <Representation id="v-240" bandwidth="300000"><BaseURL>http://h/v-240.mp4</BaseURL>
    <SegmentBase indexRange="800-900"><Initialization range="0-799"/></SegmentBase>
   </Representation>
  </AdaptationSet>
  <AdaptationSet mimeType="audio/mp4">
   <Representation id="a" bandwidth="96000"><BaseURL>http://h/a.mp4</BaseURL>
    <SegmentBase indexRange="700-760"><Initialization range="0-699"/></SegmentBase>
   </Representation>
  </AdaptationSet>
 </Period>
</MPD>"""


def sidx(segments: list[tuple[int, int]], version: int = 0, first_offset: int = 0) -> bytes:
    times = struct.pack(">II", 0, first_offset) if version == 0 else struct.pack(">QQ", 0, first_offset)
    body = struct.pack(">BxxxII", version, 1, 1000) + times + struct.pack(">HH", 0, len(segments))
    body += b"".join(struct.pack(">III", size, duration, 0x90000000) for size, duration in segments)
    return struct.pack(">I4s", len(body) + 8, b"sidx") + body


def test_representations_come_sorted_with_their_addresses() -> None:
    found = parse_mpd(MPD)
    assert found.duration_s == 60.5
    assert [track.id for track in found.video] == ["v-240", "v-480"]
    assert found.video[1].addresses == (
        Address("http://127.1.0.11:80/~t/media/x/sd/v-480.mp4", "pathway-1"),
        Address("http://127.0.0.1:81/~t/media/x/sd/v-480.mp4", "origin"),
    )
    assert [track.id for track in found.audio] == ["a"]
    assert (found.audio[0].init, found.audio[0].index) == ((0, 699), (700, 760))


@pytest.mark.parametrize("version", [0, 1])
def test_segments_follow_the_index(version: int) -> None:
    parts = parse_sidx(sidx([(100, 4000), (50, 2000)], version, first_offset=7), 800, 900)
    assert [(part.offset, part.length, part.starts_at_s, part.duration_s) for part in parts] == [
        (907, 100, 0.0, 4.0),
        (1007, 50, 4.0, 2.0),
    ]


@pytest.mark.parametrize(
    "text", ["", "not xml", "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>", MPD.replace("800-900", "900-800")]
)
def test_another_shape_is_a_bad_manifest(text: str) -> None:
    with pytest.raises(BadManifest):
        parse_mpd(text)


def test_a_cut_index_is_a_bad_manifest() -> None:
    with pytest.raises(BadManifest):
        parse_sidx(sidx([(100, 4000)])[:-6], 800, 900)


def test_durations_are_added_up() -> None:
    assert parse_duration("P1DT2H3M4.5S") == ((24 + 2) * 60 + 3) * 60 + 4.5
    with pytest.raises(BadManifest):
        parse_duration("PT")
