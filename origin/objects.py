"""Where published media lies: a port, a folder or an object store behind it by obstore.

Laws: an object is there whole or not at all (a put becomes visible when it has ended); what a path names never changes
while a title is published; a read gives exactly the bytes asked for or raises ObjectsError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from chassis.errors import Retry
from origin.errors import OriginError

PIECE_BYTES = 256 * 1024


class ObjectsError(OriginError):
    """The store failed or gave other bytes than asked for."""

    retry = Retry.YES
    status = 503


class MediaObjects(Protocol):
    """`path` is a token-less media path. Every method raises ObjectsError."""

    async def put(self, path: str, file: Path) -> None:
        """Stores the file's bytes under the path, replacing what was there."""

    def read(self, path: str, first: int, length: int) -> AsyncIterator[bytes]:
        """The bytes [first, first + length) in pieces; fewer is an error."""

    async def size(self, path: str) -> int | None:
        """Bytes of the object, or None when there is none."""

    async def remove(self, path: str) -> None:
        """Removes the object; that there is none is no error."""


class StoredObjects:
    """Objects in a folder, or in what an obstore URL names."""

    def __init__(self, store: obstore.store.ObjectStore) -> None:
        self._store = store

    async def put(self, path: str, file: Path) -> None:
        try:
            await obstore.put_async(self._store, _name(path), file)
        except (BaseError, OSError) as error:
            raise ObjectsError(f"{path} cannot be stored: {error}") from error

    async def read(self, path: str, first: int, length: int) -> AsyncIterator[bytes]:
        left = length
        try:
            if length:
                found = await obstore.get_async(self._store, _name(path), options={"range": (first, first + length)})
                async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                    left -= len(piece)
                    if left < 0:
                        break
                    yield bytes(piece)
        except (BaseError, OSError) as error:
            raise ObjectsError(f"{path} cannot be read: {error}") from error
        if left:
            raise ObjectsError(f"{path} gave {length - left} bytes from {first} instead of {length}")

    async def size(self, path: str) -> int | None:
        try:
            return (await obstore.head_async(self._store, _name(path)))["size"]
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise ObjectsError(f"{path} cannot be asked for: {error}") from error

    async def remove(self, path: str) -> None:
        try:
            await obstore.delete_async(self._store, _name(path))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise ObjectsError(f"{path} cannot be removed: {error}") from error


def open_objects(url: str, folder: Path) -> StoredObjects:
    """The store that a URL names; `folder` where the URL is empty. Raises ObjectsError when it cannot be opened."""
    try:
        if not url:
            folder.mkdir(parents=True, exist_ok=True)
            return StoredObjects(LocalStore(folder))
        return StoredObjects(from_url(url))
    except (BaseError, OSError) as error:
        raise ObjectsError(f"objects_url {url or folder}: {error}") from error


def _name(path: str) -> str:
    return path.lstrip("/")
