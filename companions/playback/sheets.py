"""What a session's manifests are made from. Pure.

`PackagedFile` is a manifest as the origin published it, by the digest under which the catalog knows it: a session keeps to
the version of a title that it began with. A title that was published without manifests has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from companions.playback.pathways import Route
from contracts.catalogue import TitleDetails
from contracts.manifests.bad import MAX_BYTES

OWN_ORDER = "steering"
"""Where the session's own order of pathways is asked for: an address relative to its manifests'."""


class PackagedFile(msgspec.Struct, frozen=True):
    """A published manifest: its token-less media path, size and SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """`duration_s` is the title's; `steering_url` is where steering is asked for the session, empty where it does not know it."""

    duration_s: float
    routes: tuple[Route, ...]
    token: str
    steering_url: str = ""


def packaged_file(details: TitleDetails, path: str) -> PackagedFile | None:
    """The published file at a path; None for no path, an unknown one, and one that is too large to be a manifest."""
    found = next((file for file in details.files if path and file.path == path), None)
    if found is None or found.size_bytes > MAX_BYTES:
        return None
    return PackagedFile(found.path, found.size_bytes, found.sha256)
