"""The packager's manifests as they are published: stable ids, addresses that hold under any token and host."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin

import m3u8
import pytest

from contracts.manifests import elements
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element
from origin import manifests
from tests.companions.packaged import (
    DASH_PATH,
    HLS_PATH,
    PACKAGER_M3U8,
    PACKAGER_MPD,
    names,
    published_m3u8,
    published_mpd,
    renditions,
)


def representations(element: Element) -> list[Element]:
    inner = [found for child in element.elements() for found in representations(child)]
    return [element, *inner] if element.local == "Representation" else inner


def test_each_representation_has_the_renditions_id_and_leads_to_its_file() -> None:
    found = representations(elements.parse(published_mpd()))
    led = {one.get("id"): urljoin(DASH_PATH, _base(one)) for one in found}
    assert led == {one.id: one.path for one in renditions()}


def test_variants_and_groups_lead_to_the_media_playlists_and_say_their_ids() -> None:
    found = m3u8.loads(published_m3u8().decode())
    paths = {one.id: one.playlist_path for one in renditions()}
    for one in found.playlists:
        assert urljoin(HLS_PATH, one.uri) == paths[one.stream_info.stable_variant_id.partition(".")[0]]
    assert {one.stable_rendition_id: urljoin(HLS_PATH, one.uri) for one in found.media} == {
        name: path for name, path in paths.items() if not name.startswith("v-")
    }
    assert [urljoin(HLS_PATH, one.uri) for one in found.iframe_playlists] == [
        one.iframe_playlist_path for one in renditions() if one.iframe_playlist_path
    ]


def test_nothing_else_of_the_packagers_is_changed() -> None:
    theirs, ours = elements.parse(PACKAGER_MPD), elements.parse(published_mpd())
    assert _without_ids(ours) == _without_ids(theirs)


def test_sound_of_other_channels_is_a_set_of_its_own() -> None:
    """The packager's document, with the German 5.1 in the set of the English stereo, as it writes it for one language."""
    text = PACKAGER_MPD.decode()
    german = text[
        text.index('<Representation id="3"') : text.index("</AdaptationSet>", text.index('<Representation id="3"'))
    ]
    together = text.replace(german, "").replace("</Representation>\n    </AdaptationSet>\n    <AdaptationSet id=\"2\"",
                                                f'</Representation>{german}</AdaptationSet><AdaptationSet id="2"')  # fmt: skip
    assert together.count("<Representation") == 5
    root = elements.parse(manifests.mpd(together.encode(), names()).encode())
    (period,) = root.elements()
    members = {one.get("id"): [inner.get("id") for inner in representations(one)] for one in period.elements()}
    assert members == {"1": ["v-120", "v-180"], "3": ["a-en"], "4": ["a-de"], "2": [], "0": ["s-en"]}


@pytest.mark.parametrize(
    ("publish", "document", "name"),
    [
        (manifests.mpd, PACKAGER_MPD, "v-180.mp4"),
        (manifests.mpd, PACKAGER_MPD, "a-en.mp4"),
        (manifests.playlist, PACKAGER_M3U8, "v-180.m3u8"),
        (manifests.playlist, PACKAGER_M3U8, "v-120-iframes.m3u8"),
    ],
)
def test_a_manifest_that_names_a_file_of_no_title_is_not_published(
    publish: Callable[[bytes, manifests.Names], str], document: bytes, name: str
) -> None:
    left = {file: place for file, place in names().items() if file != name}
    with pytest.raises(BadManifest, match=f"it names '{name}', which is no file of this title"):
        publish(document, left)


def _base(element: Element) -> str:
    return next(child.text for child in element.elements() if child.local == "BaseURL")


def _without_ids(element: Element) -> Element:
    attributes = tuple(pair for pair in element.attributes if element.local != "Representation" or pair[0] != "id")
    children = tuple(_without_ids(child) for child in element.elements()) if element.local != "BaseURL" else ()
    return Element(element.name, attributes, children, element.namespace)
