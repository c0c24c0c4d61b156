from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import m3u8
import pytest
from blake3 import blake3

from contracts.catalogue import FileKind, Title
from contracts.digests import BLOCK_BYTES
from contracts.ingest import TitleState
from origin import boxes, check
from origin.config import Encode
from origin.programs import found_programs
from tests.origin.conftest import Footage
from tests.origin.room import RUNGS, Room, ffmpeg, make_clip, running_room


def renditions(title: Title, kind: FileKind = FileKind.VIDEO) -> list[str]:
    return [rendition.id for rendition in title.renditions if rendition.kind is kind]


async def test_an_uploaded_clip_becomes_a_published_title_with_all_facts(room: Room, footage: Footage) -> None:
    title = await room.published(footage.clip)
    assert renditions(title) == ["v-180", "v-120", "v-90"]
    assert renditions(title, FileKind.AUDIO) == ["a-und-96k"]
    assert title.duration_s == 8.0
    for rendition in title.renditions:
        data = room.object_of(rendition.path).read_bytes()
        index = boxes.read_index(data, len(data))
        assert rendition.segments == index.segments
        assert (rendition.init_range, rendition.index_range) == (index.init_range, index.index_range)
        assert [round(segment.duration_s, 1) for segment in rendition.segments] == [4.0, 4.0]
        listed = check.byte_ranges(room.object_of(rendition.playlist_path).read_text())
        assert listed == tuple((segment.offset, segment.length) for segment in rendition.segments)
    assert_published_manifests_lead_to_the_files(room, title)
    video = title.renditions[0]
    assert (video.width, video.height, video.frame_rate) == (240, 180, 25.0)
    assert video.codecs.startswith("avc1.")
    assert title.renditions[-1].codecs == "mp4a.40.2"
    assert room.object_of(title.poster_path).read_bytes().startswith(b"\xff\xd8\xff")


def assert_published_manifests_lead_to_the_files(room: Room, title: Title) -> None:
    """Both manifests name exactly the title's renditions, and the playlists of I-frames ranges inside the pictures."""
    dash = room.object_of(title.dash_path).read_bytes()
    named = [base.text or "" for base in ElementTree.fromstring(dash).iter("{urn:mpeg:dash:schema:mpd:2011}BaseURL")]
    assert {urljoin(title.dash_path, name) for name in named} == {one.path for one in title.renditions}
    master = m3u8.loads(room.object_of(title.hls_path).read_text())
    listed = [one.uri for one in (*master.playlists, *master.media)]
    assert {urljoin(title.hls_path, uri) for uri in listed} == {one.playlist_path for one in title.renditions}
    frames = [urljoin(title.hls_path, one.uri) for one in master.iframe_playlists]
    pictures = [one for one in title.renditions if one.kind is FileKind.VIDEO]
    assert sorted(frames) == sorted(one.iframe_playlist_path for one in pictures)
    for picture in pictures:
        ranges = check.byte_ranges(room.object_of(picture.iframe_playlist_path).read_text())
        starts = [segment.offset for segment in picture.segments]
        assert len(ranges) == len(starts)
        for (offset, length), segment in zip(ranges, picture.segments, strict=True):
            assert segment.offset <= offset < offset + length <= segment.offset + segment.length


async def test_subtitles_of_the_source_are_tracks_of_the_title(room: Room, tmp_path: Path) -> None:
    title = await room.published(with_subtitles(make_clip(tmp_path / "plain.mp4", 9), tmp_path))
    assert renditions(title, FileKind.SUBTITLES) == ["s-eng", "s-deu-forced"]
    assert_published_manifests_lead_to_the_files(room, title)
    said = title.renditions[-2]
    assert (said.codecs, said.tier, said.language) == ("wvtt", "base", "eng")
    data = room.object_of(said.path).read_bytes()
    assert b"Low water &amp; high water" in data or b"Low water & high water" in data
    assert said.segments == boxes.read_index(data, len(data)).segments
    master = m3u8.loads(room.object_of(title.hls_path).read_text())
    told = {one.stable_rendition_id: (one.type, one.language, one.forced) for one in master.media}
    assert told["s-eng"] == ("SUBTITLES", "en", None)
    assert told["s-deu-forced"] == ("SUBTITLES", "de", "YES")
    assert {one.stream_info.subtitles for one in master.playlists} == {"subtitles"}


async def test_surround_sound_is_a_track_beside_the_stereo_of_its_language(
    room: Room, footage: Footage, tmp_path: Path
) -> None:
    loud = tmp_path / "loud.mp4"
    ffmpeg(
        "-i", str(footage.clip), "-c:v", "copy", "-c:a", "aac", "-ac", "6", "-metadata:s:a:0", "language=eng", str(loud)
    )
    title = await room.published(loud)
    sounds = [one for one in title.renditions if one.kind is FileKind.AUDIO]
    assert [(one.id, one.channels) for one in sounds] == [("a-eng-96k", 2), ("a-eng-51-288k", 6)]
    assert_published_manifests_lead_to_the_files(room, title)
    master = m3u8.loads(room.object_of(title.hls_path).read_text())
    assert [(one.group_id, one.channels, one.default) for one in master.media] == [
        ("audio", "2", "YES"),
        ("surround", "6", "YES"),
    ]
    mpd = ElementTree.fromstring(room.object_of(title.dash_path).read_bytes())
    sets = [
        one for one in mpd.iter("{urn:mpeg:dash:schema:mpd:2011}AdaptationSet") if one.get("contentType") == "audio"
    ]
    assert len({one.get("id") for one in sets}) == 2


def with_subtitles(clip: Path, folder: Path) -> Path:
    """The clip with English words, forced German ones, and a track that says nothing before the picture ends."""
    lines = {"eng": (1, "Low water & high water"), "deu": (5, "Ebbe"), "fra": (100, "rien")}
    inputs, mapped = [], []
    for number, (language, (second, words)) in enumerate(lines.items()):
        file = folder / f"{language}.srt"
        at, until = (f"00:{time // 60:02}:{time % 60:02},000" for time in (second, second + 2))
        file.write_text(f"1\n{at} --> {until}\n{words}\n")
        inputs += ["-i", str(file)]
        mapped += ["-map", str(number + 1), f"-metadata:s:s:{number}", f"language={language}"]
    made = folder / "worded.mp4"
    ffmpeg(
        "-i",
        str(clip),
        *inputs,
        "-map",
        "0",
        *mapped,
        "-c",
        "copy",
        "-c:s",
        "mov_text",
        "-disposition:s:1",
        "forced",
        str(made),
    )
    return made


async def test_published_digests_equal_those_taken_apart(room: Room, footage: Footage) -> None:
    title = await room.published(footage.clip)
    assert len(title.files) == 14
    for file in title.files:
        data = room.object_of(file.path).read_bytes()
        assert file.size_bytes == len(data)
        assert file.digests.sha256 == hashlib.sha256(data).hexdigest()
        assert file.digests.blake3 == blake3(data).hexdigest()
        blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
        assert file.digests.blocks == b"".join(blake3(block).digest() for block in blocks)
        assert file.digests.key == file.key == f"vod|{file.path}"
        group = "manifests" if file.path in (title.dash_path, title.hls_path) else Path(file.path).stem
        assert file.group == f"t1/{group.removesuffix('-iframes')}"


async def test_control_plane_hears_of_a_title_before_the_catalog(room: Room, footage: Footage) -> None:
    title = await room.published(footage.clip)
    assert room.control_plane.heard == ["control-plane", "catalog"]
    assert room.catalog.titles["t1"] == title
    status = await room.status()
    assert set(status.stage_seconds) == {"probe", "chunk", "encode", "package", "check", "publish"}
    assert status.progress == 1.0


async def test_a_title_is_published_only_after_both_have_taken_it(room: Room, footage: Footage) -> None:
    room.catalog.away = True
    await room.ingest(footage.clip)
    await room.worker.work_once()
    waiting = await room.status()
    assert waiting.state is TitleState.CHECKED
    assert "the catalog has not taken the news" in waiting.reason
    stored = {path: path.stat().st_mtime_ns for path in (room.settings.state_dir / "objects").rglob("*.mp4")}
    room.catalog.away = False
    await room.operator.post("/v1/titles/t1/retry", None)
    await room.worker.work_once()
    assert (await room.status()).state is TitleState.PUBLISHED
    assert stored == {path: path.stat().st_mtime_ns for path in stored}


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (
            "text",
            "not-media",
            "The file is not a video in a format that is taken here: no known container was found in it",
        ),
        ("truncated", "truncated", "The file is truncated: its picture ends at"),
        ("headless", "truncated", "The file is truncated: the index at its end (moov) is missing"),
        ("sound", "no-video", "The file has no video stream: it holds sound only"),
        ("short", "too-short", "The video is too short: 0.40 s, at least 2 s are needed"),
        ("image", "not-media", "The file is not a video"),
    ],
)
async def test_a_file_that_cannot_become_a_title_is_rejected_in_words(
    room: Room, footage: Footage, wrong: str, code: str, words: str
) -> None:
    await room.ingest(getattr(footage, wrong))
    await room.worker.work_once()
    status = await room.status()
    assert status.state is TitleState.REJECTED
    assert status.reason_code == code
    assert status.reason.startswith(words)
    assert room.control_plane.heard == []
    assert not list((room.settings.state_dir / "objects").rglob("*.mp4"))


async def test_a_rejected_title_takes_another_source_and_goes_on(room: Room, footage: Footage) -> None:
    await room.ingest(footage.text)
    await room.worker.work_once()
    await room.upload(footage.clip)
    await room.worker.work_once()
    status = await room.status()
    assert (status.state, status.reason) == (TitleState.PUBLISHED, "")


async def test_a_title_in_chunks_shows_the_same_frames_at_the_same_times(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "ntsc.mp4", 13, rate="30000/1001")
    rungs = (RUNGS[0],)
    async with running_room(tmp_path / "whole", encode=Encode(rungs, threads=1, nice=0)) as room:
        whole = await room.published(clip)
        whole_file = room.object_of(whole.renditions[0].path)
    chunked_rules = Encode(rungs, threads=1, nice=0, chunk_s=4, parallel=2)
    async with running_room(tmp_path / "chunked", encode=chunked_rules) as room:
        chunked = await room.published(clip)
        chunked_file = room.object_of(chunked.renditions[0].path)
    assert [s.duration_s for s in chunked.renditions[0].segments] == [
        s.duration_s for s in whole.renditions[0].segments
    ]
    assert times(chunked_file) == times(whole_file)
    assert worst_psnr(chunked_file, whole_file) > 28


def times(file: Path) -> list[str]:
    """When each frame is shown."""
    asked = [found_programs().ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time"]
    found = subprocess.run(
        [*asked, "-of", "csv=p=0", str(file)], check=True, capture_output=True, text=True, timeout=60
    )
    return sorted(found.stdout.split(), key=float)


def worst_psnr(file: Path, other: Path) -> float:
    """How far the least similar pair of frames is apart, in dB: a shift by one frame of the test picture is below 25."""
    stats = file.parent / "psnr.txt"
    compare = ["-i", str(file), "-i", str(other), "-lavfi", f"psnr=stats_file={stats}", "-f", "null", "-"]
    subprocess.run([found_programs().ffmpeg, "-v", "error", *compare], check=True, timeout=60)
    frames = [dict(part.split(":") for part in line.split()) for line in stats.read_text().splitlines()]
    return min(float(frame["psnr_avg"]) for frame in frames)
