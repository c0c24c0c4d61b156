"""HLS multivariant playlists (RFC 8216bis) as a sequence of tags that is written again as it was read. Pure.

Laws: every tag and attribute passes through in its order, also one that is not known here; a quoted value stays quoted;
comments and empty lines are left out. Media playlists are refused: nobody has to change one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from contracts.manifests.bad import MAX_PARTS, BadManifest, bounded

MEDIA = "EXT-X-MEDIA"
STREAM_INF = "EXT-X-STREAM-INF"
I_FRAME_STREAM_INF = "EXT-X-I-FRAME-STREAM-INF"
CONTENT_STEERING = "EXT-X-CONTENT-STEERING"
_WITH_ATTRIBUTES = frozenset(
    {
        MEDIA,
        STREAM_INF,
        I_FRAME_STREAM_INF,
        CONTENT_STEERING,
        "EXT-X-SESSION-DATA",
        "EXT-X-SESSION-KEY",
        "EXT-X-START",
        "EXT-X-DEFINE",
    }
)
_OF_MEDIA_PLAYLISTS = frozenset({"EXTINF", "EXT-X-TARGETDURATION", "EXT-X-BYTERANGE", "EXT-X-MAP"})
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


class Attribute(NamedTuple):
    """One of an attribute list (§4.2); `value` is without its quotes."""

    name: str
    value: str
    quoted: bool = True


@dataclass(frozen=True, slots=True)
class Tag:
    """A line that begins with #EXT: its name, and its attributes or else what follows the colon. `uri` is the line after
    an EXT-X-STREAM-INF."""

    name: str
    attributes: tuple[Attribute, ...] = ()
    value: str = ""
    uri: str = ""

    def get(self, name: str, otherwise: str = "") -> str:
        return next((attribute.value for attribute in self.attributes if attribute.name == name), otherwise)

    def having(self, name: str, value: str, *, quoted: bool = True) -> Self:
        """The same with an attribute set, in its place when it was there."""
        made = Attribute(name, value, quoted)
        if any(attribute.name == name for attribute in self.attributes):
            return replace(self, attributes=tuple(made if a.name == name else a for a in self.attributes))
        return replace(self, attributes=(*self.attributes, made))

    def lacking(self, name: str) -> Self:
        """The same without an attribute."""
        return replace(self, attributes=tuple(a for a in self.attributes if a.name != name))


@dataclass(frozen=True, slots=True)
class Playlist:
    """The tags after #EXTM3U, in their order."""

    tags: tuple[Tag, ...]

    def named(self, name: str) -> tuple[Tag, ...]:
        return tuple(tag for tag in self.tags if tag.name == name)


def parse(document: bytes) -> Playlist:
    """Raises BadManifest with the number of the line that is wrong."""
    lines = _lines(document)
    tags: list[Tag] = []
    waiting = False
    for number, line in lines:
        if not line.startswith("#"):
            if not waiting:
                raise BadManifest(f"line {number}: an address without {STREAM_INF} before it")
            tags[-1] = replace(tags[-1], uri=line)
            waiting = False
        elif line.startswith("#EXT"):
            if waiting:
                raise BadManifest(f"line {number}: the address of the {STREAM_INF} before it is missing")
            tags.append(_tag(number, line))
            waiting = tags[-1].name == STREAM_INF
    if waiting:
        raise BadManifest(f"it ends after {STREAM_INF}, without its address")
    return Playlist(tuple(tags))


def write(playlist: Playlist) -> str:
    """The playlist as text."""
    return "\n".join(("#EXTM3U", *_written(playlist.tags))) + "\n"


def quotable(text: str) -> str:
    """A quoted-string has no double quote, CR or LF and no way to escape them (§4.2)."""
    return "".join(letter for letter in text if letter not in '"\r\n')


def _lines(document: bytes) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without empty ones and #EXTM3U."""
    try:
        text = bounded(document).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadManifest(f"byte {error.start} is not UTF-8") from error
    lines = text.split("\n")
    if len(lines) > MAX_PARTS:
        raise BadManifest(f"it has more than {MAX_PARTS} lines")
    if lines[0].rstrip("\r") != "#EXTM3U":
        raise BadManifest("line 1 is not #EXTM3U")
    for number, raw in enumerate(lines[1:], start=2):
        line = raw.removesuffix("\r")
        if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in line):
            raise BadManifest(f"line {number}: holds a control character")
        if line.strip():
            yield number, line.strip()


def _tag(number: int, line: str) -> Tag:
    name, _, value = line[1:].partition(":")
    if name in _OF_MEDIA_PLAYLISTS:
        raise BadManifest(f"line {number}: {name} makes it a media playlist")
    if name not in _WITH_ATTRIBUTES:
        return Tag(name, value=value)
    try:
        return Tag(name, tuple(_attributes(value)))
    except BadManifest as error:
        raise BadManifest(f"line {number}: {name}: {error}") from None


def _attributes(text: str) -> Iterable[Attribute]:
    """An attribute list (§4.2): NAME=VALUE, separated by commas; a comma inside quotes separates nothing."""
    found: dict[str, Attribute] = {}
    at = 0
    while at < len(text):
        equals = text.find("=", at)
        name = text[at:equals].strip() if equals >= 0 else text[at:]
        if equals < 0 or not name or not _NAME.issuperset(name):
            raise BadManifest(f"{name[:40]!r} is no attribute")
        if name in found:
            raise BadManifest(f"has {name} twice")
        value, at = _value(text, equals + 1, name)
        found[name] = Attribute(name, value.strip('"'), value.startswith('"'))
    return found.values()


def _value(text: str, start: int, name: str) -> tuple[str, int]:
    """The value that starts there, with its quotes, and where the next attribute starts."""
    if text[start : start + 1] != '"':
        comma = text.find(",", start)
        end = len(text) if comma < 0 else comma
        value = text[start:end].strip()
        if not value or '"' in value:
            raise BadManifest(f"{name} has no value" if not value else f"the value of {name} has a stray quote")
        return value, end + 1
    close = text.find('"', start + 1)
    if close < 0:
        raise BadManifest(f"the quotes of {name} are not closed")
    after = text[close + 1 :].lstrip()
    if after and not after.startswith(","):
        raise BadManifest(f"the value of {name} goes on after its quotes")
    comma = text.find(",", close)
    return text[start : close + 1], len(text) if comma < 0 else comma + 1


def _written(tags: Iterable[Tag]) -> Iterator[str]:
    for tag in tags:
        rest = tag.value
        if tag.attributes:
            rest = ",".join(f'{a.name}="{a.value}"' if a.quoted else f"{a.name}={a.value}" for a in tag.attributes)
        yield f"#{tag.name}:{rest}" if rest else f"#{tag.name}"
        if tag.uri:
            yield tag.uri
