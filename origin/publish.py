"""Publication: digests, the title's record, objects, and telling those who must know.

Laws: digests are taken from the packaged files before they are stored, and the stored objects are read back and compared;
files become visible in one transaction after all of them are stored; a title is `published` only after control plane
and catalog have both taken its record. Every step may be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from blake3 import blake3

from contracts.catalogue import PublishedFile, Rendition, Title, TitleFacts
from contracts.digests import DigestBuilder, FileDigests
from origin.errors import StageFailed
from origin.manifests import DASH_FILE, HLS_FILE
from origin.objects import MediaObjects
from origin.package import POSTER_FILE, Publication

PIECE_BYTES = 1024 * 1024


class Package(msgspec.Struct, frozen=True):
    """Result of the package stage."""

    renditions: tuple[Rendition, ...]
    duration_s: float


def digest(file: Path, publication: Publication) -> PublishedFile:
    """The file with its digests. Reads it twice, by two ways; raises StageFailed when they differ."""
    builder = DigestBuilder(publication.name.key, publication.content_type)
    with file.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            builder.update(piece)
    digests = builder.finish()
    _compare_apart(file, digests)
    name = publication.name
    return PublishedFile(name.path, publication.kind, name.tier, publication.group, digests.size_bytes, digests)


def title_record(facts: TitleFacts, package: Package, files: tuple[PublishedFile, ...], now: float) -> Title:
    """What control plane and catalog are told."""
    return Title(
        facts,
        package.duration_s,
        package.renditions,
        files,
        poster_path=_path_of(POSTER_FILE, files),
        published_at=now,
        dash_path=_path_of(DASH_FILE, files),
        hls_path=_path_of(HLS_FILE, files),
    )


async def store(
    objects: MediaObjects, folder: Path, files: tuple[PublishedFile, ...], on_share: Callable[[float], None]
) -> None:
    """Stores every file and reads it back. What is there already with the right digest is not stored again.

    Raises ObjectsError, and StageFailed when an object has other bytes than its file.
    """
    total = sum(file.size_bytes for file in files) or 1
    done = 0
    for file in files:
        if not await _is_stored(objects, file):
            await objects.put(file.path, folder / file.path.rpartition("/")[2])
            if not await _is_stored(objects, file):
                raise StageFailed(f"{file.path}: the stored object does not have the file's digest")
        done += file.size_bytes
        on_share(done / total)


def _path_of(name: str, files: tuple[PublishedFile, ...]) -> str:
    return next((file.path for file in files if file.path.endswith(f"/{name}")), "")


async def _is_stored(objects: MediaObjects, file: PublishedFile) -> bool:
    if await objects.size(file.path) != file.size_bytes:
        return False
    found = DigestBuilder(file.key, file.digests.content_type)
    async for piece in objects.read(file.path, 0, file.size_bytes):
        found.update(piece)
    return found.finish() == file.digests


def _compare_apart(file: Path, digests: FileDigests) -> None:
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    whole = blake3(max_threads=1).update_mmap(file).hexdigest()
    if (sha256, whole, file.stat().st_size) != (digests.sha256, digests.blake3, digests.size_bytes):
        raise StageFailed(f"{file.name}: two readings have different digests")
