"""A title's HLS multivariant playlist made one session's: this viewer's renditions, pathways and token. Pure.

Laws: what the packager wrote stays (session keys, ranges of light, attributes that are not known here); renditions and
variants whose media playlist is none of the session's go, and references to groups that became empty; each pathway has all
variants and one set of groups of its own, so that a player that leaves it leaves it for picture, sound and text together
(§7.1); `STABLE-VARIANT-ID` and `STABLE-RENDITION-ID` are the same on every pathway; addresses are absolute and carry the token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from companions.playback.pathways import FIRST_PATHWAY, Route, joined, media_url, pathway_names, steerable
from companions.playback.sheets import OWN_ORDER, Sheet
from contracts.manifests.bad import BadManifest
from contracts.manifests.playlists import (
    CONTENT_STEERING,
    I_FRAME_STREAM_INF,
    MEDIA,
    STREAM_INF,
    Attribute,
    Playlist,
    Tag,
)

_GROUPS = ("AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS")
_PER_PATHWAY = frozenset({MEDIA, STREAM_INF, I_FRAME_STREAM_INF, CONTENT_STEERING})


@dataclass(frozen=True, slots=True)
class _Kept:
    """A tag that goes onto every pathway; `route` is None for a rendition without a media playlist, `path` then empty."""

    tag: Tag
    route: Route | None
    path: str


def personal(packaged: Playlist, sheet: Sheet, path: str) -> Playlist:
    """The session's playlist. `path` is the packaged one's media path, which its addresses are relative to.

    Raises BadManifest when it lacks a rendition that the session has.
    """
    routes = {route.rendition.playlist_path: route for route in sheet.routes}
    trick = {
        route.rendition.iframe_playlist_path: route for route in sheet.routes if route.rendition.iframe_playlist_path
    }
    media = list(_media(packaged, routes, path))
    variants = [kept for tag in packaged.named(STREAM_INF) if (kept := _found(tag, tag.uri, routes, path))]
    lacking = sorted(set(routes) - {kept.path for kept in (*media, *variants)})
    if lacking:
        raise BadManifest(f"it lacks {', '.join(lacking)[:200]}")
    frames = [kept for tag in packaged.named(I_FRAME_STREAM_INF) if (kept := _found(tag, tag.get("URI"), trick, path))]
    variants = _with_groups(variants, media)
    names = pathway_names(sheet.routes)
    made = [_stable(kept) for kept in (*media, *variants, *frames)]
    tags = [_addressed(kept, name, sheet.token) for kind in (MEDIA, STREAM_INF, I_FRAME_STREAM_INF) for name in names
            for kept in made if kept.tag.name == kind]  # fmt: skip
    return Playlist((*_head(packaged, sheet, path), *_steering(sheet), *tags))


def _media(packaged: Playlist, routes: dict[str, Route], base: str) -> Iterator[_Kept]:
    """A rendition without an address is inside the variants: closed captions, sound in the picture's file."""
    for tag in packaged.named(MEDIA):
        kept = _found(tag, tag.get("URI"), routes, base) if tag.get("URI") else _Kept(tag, None, "")
        if kept is not None:
            yield kept


def _found(tag: Tag, uri: str, routes: dict[str, Route], base: str) -> _Kept | None:
    """The tag with its route; None when its address is none of the session's."""
    path = joined(base, uri)
    return _Kept(tag, routes[path], path) if path in routes else None


def _with_groups(variants: Sequence[_Kept], media: Sequence[_Kept]) -> list[_Kept]:
    """Variants without references to groups that are gone. One that lost its sound goes where another has the same
    picture with sound."""
    groups = {(kept.tag.get("TYPE"), kept.tag.get("GROUP-ID")) for kept in media}
    sound = {kept.path for kept in variants if ("AUDIO", kept.tag.get("AUDIO")) in groups}
    made = []
    for kept in variants:
        gone = [
            a.name for a in kept.tag.attributes if a.name in _GROUPS and a.quoted and (a.name, a.value) not in groups
        ]
        if "AUDIO" in gone and kept.path in sound:
            continue
        tag = kept.tag
        for name in gone:
            tag = tag.lacking(name)
        made.append(_Kept(_with_codecs(tag, kept, media) if gone else tag, kept.route, kept.path))
    return made


def _with_codecs(tag: Tag, variant: _Kept, media: Sequence[_Kept]) -> Tag:
    """CODECS names what is left: the picture's and those of its groups' renditions (§4.4.6.2)."""
    groups = {(name, tag.get(name)) for name in _GROUPS}
    members = [one.route for one in media if (one.tag.get("TYPE"), one.tag.get("GROUP-ID")) in groups]
    left = {
        _family(codec) for route in (variant.route, *members) if route for codec in route.rendition.codecs.split(",")
    }
    named = [codec.strip() for codec in tag.get("CODECS").split(",") if _family(codec) in left]
    return tag.having("CODECS", ",".join(named)) if named else tag


def _family(codec: str) -> str:
    return codec.strip().partition(".")[0]


def _stable(kept: _Kept) -> _Kept:
    """With the id that names it over pathways and over time, where the packager gave none."""
    name = "STABLE-RENDITION-ID" if kept.tag.name == MEDIA else "STABLE-VARIANT-ID"
    if kept.route is None or kept.tag.get(name):
        return kept
    return _Kept(kept.tag.having(name, kept.route.rendition.id), kept.route, kept.path)


def _addressed(kept: _Kept, pathway: str, token: str) -> Tag:
    tag = kept.tag
    if kept.route is not None:
        address = media_url(kept.route.at(pathway), token, kept.path)
        tag = _with_uri(tag, address)
    if tag.name == MEDIA:
        # The attribute is one of variants (§4.4.6.2.1), and ignored elsewhere; Shaka Player 5.2 finds no pathway of subtitles without.
        return tag.having("GROUP-ID", _group(tag.get("GROUP-ID"), pathway)).having("PATHWAY-ID", pathway)
    for attribute in tag.attributes:
        if attribute.name in _GROUPS and attribute.quoted:
            tag = tag.having(attribute.name, _group(attribute.value, pathway))
    return tag.having("PATHWAY-ID", pathway)


def _with_uri(tag: Tag, address: str) -> Tag:
    if tag.name == STREAM_INF:
        return Tag(tag.name, tag.attributes, tag.value, address)
    return tag.having("URI", address)


def _group(name: str, pathway: str) -> str:
    return f"{name}-{pathway}"


def _steering(sheet: Sheet) -> Iterator[Tag]:
    """Where steering does not know the session, players still ask somebody for the order of pathways: some never leave the
    first one without an answer (Shaka Player 5.2)."""
    if steerable(sheet.routes):
        server = Attribute("SERVER-URI", sheet.steering_url or OWN_ORDER)
        yield Tag(CONTENT_STEERING, (server, Attribute("PATHWAY-ID", FIRST_PATHWAY)))


def _head(packaged: Playlist, sheet: Sheet, base: str) -> Iterator[Tag]:
    """What is no rendition. A relative address in it is one of the title's files, which the last place always has."""
    for tag in packaged.tags:
        uri = tag.get("URI")
        if tag.name in _PER_PATHWAY:
            continue
        if not uri or ":" in uri.partition("/")[0]:
            yield tag
        elif path := joined(base, uri):
            yield tag.having("URI", media_url(sheet.routes[-1].places[-1], sheet.token, path))
