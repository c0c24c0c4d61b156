from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.origin.room import Room, ffmpeg, make_clip, running_room


@dataclass(frozen=True)
class Footage:
    """Source files: one good, the others each wrong in a way of their own."""

    clip: Path
    truncated: Path
    headless: Path
    sound: Path
    text: Path
    short: Path
    image: Path


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    folder = tmp_path_factory.mktemp("footage")
    clip = make_clip(folder / "clip.mp4", 8)
    truncated = folder / "truncated.mp4"
    truncated.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    late = make_clip(folder / "late.mp4", 2.5, moov_first=False)
    headless = folder / "headless.mp4"
    headless.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
    sound = folder / "sound.m4a"
    ffmpeg("-i", str(clip), "-vn", "-c:a", "copy", str(sound))
    text = folder / "text.mp4"
    text.write_text("This is not a video, whatever its name says.\n" * 50)
    image = folder / "image.jpg"
    ffmpeg("-i", str(clip), "-frames:v", "1", str(image))
    return Footage(clip, truncated, headless, sound, text, make_clip(folder / "short.mp4", 0.4), image)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with running_room(tmp_path) as running:
        yield running
