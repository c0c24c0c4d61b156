"""Laws of published manifests, which come from a packager or from whoever put them into the store: nothing but BadManifest
leaves, what is read is written again, and a personal one names places and files of its session only."""

from __future__ import annotations

import re
from collections.abc import Hashable
from urllib.parse import urlsplit

from companions.playback.manifests import DASH, HLS, Form
from companions.playback.pathways import routes
from companions.playback.sheets import Sheet
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element
from contracts.manifests.playlists import MEDIA, Playlist
from contracts.urls import split_token
from tests.companions.lab import ORIGIN_URL
from tests.companions.packaged import DASH_PATH, HLS_PATH, TITLE, published_m3u8, published_mpd, renditions

_SHEET = Sheet(8.0, routes(TITLE, renditions()[:1], None, ORIGIN_URL), "token")
_FILES = {renditions()[0].path, renditions()[0].playlist_path, renditions()[0].iframe_playlist_path}
MPD_SEEDS = (
    published_mpd(),
    b'<a xmlns:b="c" b:d="&lt;">e<b:f/>&#10;</a>',
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
)
MPD_WORDS = (
    b"<",
    b"/>",
    b"</",
    b'"',
    b"&amp;",
    b"&x;",
    b"xmlns=",
    b":",
    b"<!DOCTYPE a>",
    b"]]>",
    b"<![CDATA[",
    b"\xff",
    b"\0",
    b"../",
)
PLAYLIST_SEEDS = (published_m3u8(), b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a,b",NAME="=",URI="x"\n')
PLAYLIST_WORDS = (b"\n", b"\r\n", b",", b"=", b'"', b"#EXT-X-", b"#EXTINF:", b":", b"URI=", b"..", b"/", b"{$x}", b"\xff", b"\0", b" ")  # fmt: skip


def check_mpd(data: bytes) -> Hashable:
    made = _made(DASH, data, DASH_PATH)
    if not isinstance(made, Element):
        return made
    addresses = [
        child.text
        for one in _all(made)
        if one.local == "Representation"
        for child in one.elements()
        if child.local == "BaseURL"
    ]
    _inside(addresses)
    return len(addresses)


def check_playlist(data: bytes) -> Hashable:
    made = _made(HLS, data, HLS_PATH)
    if not isinstance(made, Playlist):
        return made
    _inside(
        [
            address
            for tag in made.tags
            if tag.get("PATHWAY-ID") or tag.name == MEDIA
            if (address := tag.uri or tag.get("URI"))
        ]
    )
    return tuple(sorted({tag.name for tag in made.tags}))


def _made(form: Form[Element] | Form[Playlist], data: bytes, path: str) -> Element | Playlist | str:
    """The personal document, or the words of the refusal without what they quote."""
    try:
        return _personal(form, data, path)
    except BadManifest as refused:
        return re.sub(r"[0-9]+|'.*'|\S*/\S*", "n", str(refused))


def _personal(form: Form[Element] | Form[Playlist], data: bytes, path: str) -> Element | Playlist:
    if form is DASH:
        read = DASH.parse(data)
        assert DASH.parse(DASH.write(read).encode()) == read
        return DASH.personal(read, _SHEET, path)
    listed = HLS.parse(data)
    assert HLS.parse(HLS.write(listed).encode()) == listed
    return HLS.personal(listed, _SHEET, path)


def _inside(addresses: list[str]) -> None:
    for address in addresses:
        assert address.startswith(ORIGIN_URL + "/")
        token, file = split_token(urlsplit(address).path)
        assert token == "token"
        assert file in _FILES


def _all(element: Element) -> list[Element]:
    return [element, *(one for child in element.elements() for one in _all(child))]
