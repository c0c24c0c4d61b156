"""What Shaka Packager 3.8 wrote of two pictures with I-frames, stereo in English, 5.1 in German and English subtitles, and
the same as the origin publishes it."""

from __future__ import annotations

from pathlib import Path

from contracts.catalogue import FileKind, Rendition
from contracts.urls import MediaName
from origin import manifests
from tests.companions.lab import rendition

TITLE = "tide"
DASH_PATH = f"/media/{TITLE}/base/manifest.mpd"
HLS_PATH = f"/media/{TITLE}/base/master.m3u8"
_HERE = Path(__file__).parent
PACKAGER_MPD = (_HERE / "packager.mpd").read_bytes()
PACKAGER_M3U8 = (_HERE / "packager.m3u8").read_bytes()


def renditions() -> tuple[Rendition, ...]:
    """As the catalog knows them: the pictures are of different tiers."""
    return (
        _picture("v-120", "sd", 160, 120),
        _picture("v-180", "hd", 240, 180),
        rendition(TITLE, "a-en", FileKind.AUDIO, "base", 130_397, language="en", channels=2),
        rendition(TITLE, "a-de", FileKind.AUDIO, "base", 175_877, language="de", channels=6),
        rendition(TITLE, "s-en", FileKind.SUBTITLES, "base", 388, codecs="wvtt", language="en"),
    )


def names() -> dict[str, MediaName]:
    """File name → where the origin publishes it."""
    paths = [path for one in renditions() for path in (one.path, one.playlist_path, one.iframe_playlist_path) if path]
    parts = [path.removeprefix("/media/").split("/") for path in paths]
    return {file: MediaName(title, tier, file) for title, tier, file in parts}


def published_mpd() -> bytes:
    return manifests.mpd(PACKAGER_MPD, names()).encode()


def published_m3u8() -> bytes:
    return manifests.playlist(PACKAGER_M3U8, names()).encode()


def _picture(name: str, tier: str, width: int, height: int) -> Rendition:
    frames = f"/media/{TITLE}/{tier}/{name}-iframes.m3u8"
    return rendition(
        TITLE,
        name,
        FileKind.VIDEO,
        tier,
        266_508,
        codecs="avc1.4d400b",
        width=width,
        height=height,
        frame_rate=25.0,
        iframe_playlist_path=frames,
    )
