"""What the packager says of a title as manifests that are published beside its files. Pure.

Laws: a Representation's id is the rendition's, variants and groups have stable ids, and every address is relative to the
manifest, so that the documents are good under any token and host; sound of other channels is a set of its own, which players
choose and do not switch to for want of bandwidth; variants name the codec of their subtitles. Nothing else of the packager's is changed. Playback makes them personal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import PurePosixPath

from contracts.manifests import elements, playlists
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element
from contracts.manifests.playlists import I_FRAME_STREAM_INF, MEDIA, STREAM_INF, Playlist, Tag
from contracts.urls import MediaName

NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
DASH_FILE = "manifest.mpd"
HLS_FILE = "master.m3u8"
TIER = "base"
TEXT_CODEC = "wvtt"
Names = Mapping[str, MediaName]
"""File name → where it is published."""


def mpd(packaged: bytes, names: Names) -> str:
    """The MPD to publish. Raises BadManifest when the packager's cannot be read or names another file than `names`."""
    return elements.write(_element(_with_channels_apart(elements.parse(packaged)), names))


def playlist(packaged: bytes, names: Names) -> str:
    """The multivariant playlist to publish; a group of sound without a default gets its first. Raises as `mpd` does."""
    found = playlists.parse(packaged).tags
    several = len({tag.get("AUDIO") for tag in found if tag.name == STREAM_INF}) > 1
    tags = [_tag(tag, names, several) for tag in found]
    defaults = {tag.get("GROUP-ID") for tag in tags if tag.get("DEFAULT") == "YES"}
    for at, tag in enumerate(tags):
        group = tag.get("GROUP-ID")
        if tag.name == MEDIA and tag.get("TYPE") == "AUDIO" and group not in defaults:
            defaults.add(group)
            tags[at] = tag.having("DEFAULT", "YES", quoted=False)
    return playlists.write(Playlist(tuple(tags)))


def _element(element: Element, names: Names) -> Element:
    children = tuple(_element(child, names) if isinstance(child, Element) else child for child in element.children)
    if element.namespace == NAMESPACE and element.local == "BaseURL":
        return element.holding((_relative(element.text, names),))
    if element.namespace == NAMESPACE and element.local == "Representation":
        file = next((child.text for child in element.elements() if child.local == "BaseURL"), "")
        element = element.having("id", _stem(file))
    return element.holding(children)


def _with_channels_apart(mpd: Element) -> Element:
    """The packager puts all channels of a language into one AdaptationSet."""
    taken = {one.get("id") for period in mpd.elements() for one in period.elements()}
    free = (str(number) for number in count() if str(number) not in taken)
    periods = []
    for period in mpd.children:
        if isinstance(period, Element) and period.local == "Period":
            sets = [part for child in period.children for part in _by_channels(child, free)]
            period = period.holding(tuple(sets))
        periods.append(period)
    return mpd.holding(tuple(periods))


def _by_channels(child: Element | str, free: Iterator[str]) -> Iterator[Element | str]:
    """An AdaptationSet for each number of channels; the first keeps its id."""
    groups: dict[str, list[Element]] = {}
    if isinstance(child, Element):
        for one in child.elements():
            if one.local == "Representation":
                groups.setdefault(_channels(one), []).append(one)
    if not isinstance(child, Element) or len(groups) < 2:
        yield child
        return
    rest = tuple(one for one in child.children if not isinstance(one, Element) or one.local != "Representation")
    for number, members in enumerate(groups.values()):
        made = child.holding((*rest, *members))
        yield made.having("id", next(free)) if number else made


def _channels(representation: Element) -> str:
    return next((one.get("value") for one in representation.elements() if one.local == "AudioChannelConfiguration"), "")


def _tag(tag: Tag, names: Names, several: bool) -> Tag:
    if tag.name == STREAM_INF:
        made = Tag(tag.name, tag.attributes, tag.value, _relative(tag.uri, names))
        made = _with_text_codec(made)
        group = f".{tag.get('AUDIO')}" if several and tag.get("AUDIO") else ""
        return made.having("STABLE-VARIANT-ID", _stem(tag.uri) + group)
    if not tag.get("URI") or tag.name not in (MEDIA, I_FRAME_STREAM_INF):
        return tag
    name = "STABLE-RENDITION-ID" if tag.name == MEDIA else "STABLE-VARIANT-ID"
    return tag.having("URI", _relative(tag.get("URI"), names)).having(name, _stem(tag.get("URI")))


def _with_text_codec(variant: Tag) -> Tag:
    """CODECS names all that a variant's groups hold (RFC 8216bis §4.4.6.2); the packager leaves out text, and Shaka Player
    cannot read subtitles then."""
    codecs = variant.get("CODECS")
    if not variant.get("SUBTITLES") or TEXT_CODEC in codecs.split(","):
        return variant
    return variant.having("CODECS", f"{codecs},{TEXT_CODEC}")


def _stem(file: str) -> str:
    return PurePosixPath(file).stem


def _relative(file: str, names: Names) -> str:
    """The address of a published file, seen from the manifest's folder."""
    name = names.get(file)
    if name is None:
        raise BadManifest(f"it names {file[:80]!r}, which is no file of this title")
    return name.file if name.tier == TIER else f"../{name.tier}/{name.file}"
