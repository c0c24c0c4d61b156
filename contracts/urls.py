"""Addresses of media: `/~TOKEN/media/TITLE/TIER/FILE`, and the cache key made from them.

Laws: the token is the first path part and no part of the key; the key is `SERVICE|/media/TITLE/TIER/FILE`; the query
never reaches a media key. Names are `[a-z0-9][a-z0-9._-]*` so that a path has exactly one spelling.
"""

from __future__ import annotations

import re

import msgspec

MEDIA_SERVICE = "vod"
_NAME = r"[a-z0-9][a-z0-9._-]{0,127}"
_NAME_RE = re.compile(_NAME)
_MEDIA_RE = re.compile(rf"/media/({_NAME})/({_NAME})/({_NAME})")


class MediaName(msgspec.Struct, frozen=True, order=True):
    """One published file: title id, tier (what an entitlement buys: `base`, `sd`, `hd`, `uhd`) and file name."""

    title: str
    tier: str
    file: str

    @property
    def path(self) -> str:
        return f"/media/{self.title}/{self.tier}/{self.file}"

    @property
    def key(self) -> str:
        return cache_key(MEDIA_SERVICE, self.path)


def is_name(text: str) -> bool:
    """True for a valid title id, tier or file name (lower case, digits, dot, underscore, hyphen; at most 128)."""
    return _NAME_RE.fullmatch(text) is not None


def parse_media_path(path: str) -> MediaName | None:
    """The name in a token-less path, or None when the path is not one of media."""
    match = _MEDIA_RE.fullmatch(path)
    return MediaName(*match.groups()) if match else None


def cache_key(service: str, path: str) -> str:
    """DESIGN §3.3: delivery service + normalised path. Media has no allow-listed query and no variant."""
    return f"{service}|{path}"


def split_key(key: str) -> tuple[str, str]:
    """(delivery service, path) of a cache key. Raises ValueError when it has no service."""
    service, bar, path = key.partition("|")
    if not bar or not path.startswith("/"):
        raise ValueError(f"not a cache key: {key!r}")
    return service, path


def with_token(token: str, path: str) -> str:
    """The path a player asks for: the token in front, so that relative URLs keep it."""
    return f"/~{token}{path}"


def split_token(path: str) -> tuple[str | None, str]:
    """(token or None, path without it)."""
    if not path.startswith("/~"):
        return None, path
    token, slash, rest = path[2:].partition("/")
    return token, slash + rest
