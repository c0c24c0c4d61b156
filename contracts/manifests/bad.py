"""What reading a manifest may end with, and how much of one is read."""

from __future__ import annotations

MAX_BYTES = 1024 * 1024
"""A manifest of an on-demand title has some hundred bytes per rendition."""
MAX_PARTS = 20_000
"""Elements of an MPD, lines of a playlist."""


class BadManifest(Exception):
    """The document is not what it should be; the message says what is wrong, and where."""


def bounded(document: bytes) -> bytes:
    """The document, when it is of a size that is read at all. Raises BadManifest."""
    if len(document) > MAX_BYTES:
        raise BadManifest(f"it has {len(document)} bytes, at most {MAX_BYTES} are read")
    return document
