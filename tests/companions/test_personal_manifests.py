"""Published manifests made one session's, read again by other parsers: laws over any ranking, plan and document."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from urllib.parse import urlsplit

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companions.playback.manifests import DASH, HLS
from companions.playback.pathways import routes
from companions.playback.sheets import Sheet
from contracts.catalogue import Rendition
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element
from contracts.manifests.playlists import MEDIA
from contracts.urls import split_token
from contracts.world import Choice, GroupRanking, Ranking, Why
from player.presentation import parse_mpd
from tests.companions.lab import ORIGIN_URL
from tests.companions.packaged import DASH_PATH, HLS_PATH, TITLE, published_m3u8, published_mpd, renditions

TOKEN = "aaa.bbb-_.ccc"
STEERING = "https://steer.example/v1/steering/s-1?state=a.b&x=1"
NS = {"d": "urn:mpeg:dash:schema:mpd:2011"}
BY_ID = {one.id: one for one in renditions()}
NAMES = ("a1", "a2", "b1")


def sheet(kept: Sequence[Rendition] | None = None, names: Sequence[str] = NAMES, steering: str = "") -> Sheet:
    """Everything, or what is kept of it, at the same appliances and the origin."""
    kept = renditions() if kept is None else kept
    choices = [Choice(name, "site", f"http://{name}.example:80", Why.HOLDS) for name in names]
    ranking = Ranking(1, "", "", tuple(GroupRanking(f"{TITLE}/{one.id}", tuple(choices)) for one in kept))
    return Sheet(8.0, routes(TITLE, kept, ranking, ORIGIN_URL), TOKEN, steering)


def mpd(of: Sheet, document: bytes | None = None) -> str:
    return DASH.write(DASH.personal(DASH.parse(document or published_mpd()), of, DASH_PATH))


def master(of: Sheet, document: bytes | None = None) -> str:
    return HLS.write(HLS.personal(HLS.parse(document or published_m3u8()), of, HLS_PATH))


def representations(text: str) -> dict[str, ET.Element]:
    return {one.get("id", ""): one for one in ET.fromstring(text).iterfind(".//d:Representation", NS)}


def bases(representation: ET.Element) -> list[tuple[str, str]]:
    return [(one.get("serviceLocation", ""), one.text or "") for one in representation.iterfind("d:BaseURL", NS)]


def test_every_representation_names_its_places_best_first_under_their_pathways() -> None:
    found = representations(mpd(sheet()))
    assert sorted(found) == sorted(BY_ID)
    for name, representation in found.items():
        path = f"/~{TOKEN}{BY_ID[name].path}"
        assert bases(representation) == [
            ("pathway-1", f"http://a1.example:80{path}"),
            ("pathway-2", f"http://a2.example:80{path}"),
            ("pathway-3", f"http://b1.example:80{path}"),
            ("origin", ORIGIN_URL + path),
        ]


def test_children_stand_in_the_order_of_the_schema() -> None:
    order = ["AudioChannelConfiguration", "BaseURL", "SegmentBase"]
    for representation in representations(mpd(sheet())).values():
        found = [child.tag.partition("}")[2] for child in representation]
        assert found == sorted(found, key=order.index)


def test_what_the_packager_said_of_each_track_stays() -> None:
    root = ET.fromstring(mpd(sheet()))
    assert root.get("mediaPresentationDuration") == "PT8S"
    sets = {one.get("contentType", "") + one.get("lang", ""): one for one in root.iterfind(".//d:AdaptationSet", NS)}
    assert sorted(sets) == ["audiode", "audioen", "texten", "video"]
    role = sets["texten"].find("d:Role", NS)
    assert role is not None
    assert role.get("value") == "subtitle"
    base = sets["video"].find("d:Representation/d:SegmentBase", NS)
    assert base is not None
    assert base.get("indexRange") == "870-925"


def test_the_scripted_player_reads_it() -> None:
    found = parse_mpd(mpd(sheet(steering=STEERING)))
    assert [track.id for track in found.video] == ["v-120", "v-180"]
    assert [address.location for address in found.audio[0].addresses] == [
        "pathway-1",
        "pathway-2",
        "pathway-3",
        "origin",
    ]


def test_steering_is_named_before_the_periods_and_its_first_pathway_in_hls() -> None:
    root = ET.fromstring(mpd(sheet(steering=STEERING)))
    assert [child.tag.partition("}")[2] for child in root] == ["ContentSteering", "Period"]
    assert (root[0].text, root[0].attrib) == (f"{STEERING}&d=dash", {"queryBeforeStart": "false"})
    lines = master(sheet(steering=STEERING)).splitlines()
    assert f'#EXT-X-CONTENT-STEERING:SERVER-URI="{STEERING}",PATHWAY-ID="pathway-1"' in lines


def test_a_session_with_nothing_to_steer_names_no_steering() -> None:
    origin_only = sheet(names=(), steering=STEERING)
    assert "ContentSteering" not in mpd(origin_only)
    assert "CONTENT-STEERING" not in master(origin_only)


def test_hls_of_a_session_that_steering_does_not_know_names_playback_for_the_order_of_its_pathways() -> None:
    assert "ContentSteering" not in mpd(sheet())
    assert '#EXT-X-CONTENT-STEERING:SERVER-URI="steering",PATHWAY-ID="pathway-1"' in master(sheet()).splitlines()


def test_every_pathway_has_all_variants_and_groups_of_its_own() -> None:
    found = m3u8.loads(master(sheet()))
    paths = [name for name in ("pathway-1", "pathway-2", "pathway-3", "origin") for _ in range(4)]
    assert [one.stream_info.pathway_id for one in found.playlists] == paths
    for one in found.playlists:
        told = one.stream_info
        assert told.audio in (f"audio-{told.pathway_id}", f"surround-{told.pathway_id}")
        assert told.subtitles == f"subtitles-{told.pathway_id}"
    assert {one.iframe_stream_info.pathway_id for one in found.iframe_playlists} == set(paths)


def test_ids_are_the_same_on_every_pathway_and_differ_within_one() -> None:
    found = m3u8.loads(master(sheet()))
    by_pathway: dict[str, list[str]] = {}
    for one in found.playlists:
        by_pathway.setdefault(one.stream_info.pathway_id, []).append(one.stream_info.stable_variant_id)
    assert list(by_pathway.values()) == [["v-120.audio", "v-180.audio", "v-120.surround", "v-180.surround"]] * 4
    by_group: dict[str, set[str]] = {}
    for one in found.media:
        by_group.setdefault(one.group_id.partition("-")[0], set()).add(one.stable_rendition_id)
    assert by_group == {"audio": {"a-en"}, "surround": {"a-de"}, "subtitles": {"s-en"}}


def test_renditions_beside_the_picture_say_the_pathway_of_their_group() -> None:
    tags = HLS.parse(master(sheet()).encode()).named(MEDIA)
    assert {tag.get("PATHWAY-ID") for tag in tags} == {"pathway-1", "pathway-2", "pathway-3", "origin"}
    assert all(tag.get("GROUP-ID").endswith("-" + tag.get("PATHWAY-ID")) for tag in tags)


def test_each_group_of_sound_has_a_default() -> None:
    found = m3u8.loads(master(sheet()))
    assert {one.group_id for one in found.media if one.default == "YES"} == {
        f"{group}-{name}"
        for group in ("audio", "surround")
        for name in ("pathway-1", "pathway-2", "pathway-3", "origin")
    }


def test_without_its_subtitles_a_title_names_no_group_of_them() -> None:
    text = master(sheet([one for one in renditions() if one.id != "s-en"]))
    assert "SUBTITLES" not in text
    assert "wvtt" not in text
    assert "AUDIO=" in text


def test_variants_name_the_codec_of_their_subtitles() -> None:
    drawn = HLS.write(HLS.personal(HLS.from_facts(sheet()), sheet(), "/"))
    for text in (master(sheet()), drawn):
        assert {one.stream_info.codecs.rpartition(",")[2] for one in m3u8.loads(text).playlists} == {"wvtt"}


def test_without_one_kind_of_sound_its_variants_go_and_the_others_stay() -> None:
    found = m3u8.loads(master(sheet([one for one in renditions() if one.id != "a-de"])))
    assert {one.stream_info.stable_variant_id for one in found.playlists} == {"v-120.audio", "v-180.audio"}


def test_without_any_sound_the_variants_say_the_codecs_of_the_picture() -> None:
    found = m3u8.loads(master(sheet([BY_ID["v-120"]])))
    assert {one.stream_info.codecs for one in found.playlists} == {"avc1.4d400b"}
    assert found.media == []


KEPT = st.sets(st.sampled_from(sorted(set(BY_ID) - {"v-120"}))).map(
    lambda more: [one for one in renditions() if one.id == "v-120" or one.id in more]
)
PLACES = st.lists(st.sampled_from(["a1", "a2", "b1", "b2"]), unique=True)


@given(KEPT, PLACES)
def test_whatever_is_kept_every_address_is_absolute_at_a_known_place_and_inside_the_session(
    kept: list[Rendition], names: list[str]
) -> None:
    of = sheet(kept, names, STEERING)
    known = {urlsplit(place.url).netloc for route in of.routes for place in route.places}
    found = m3u8.loads(master(of))
    listed = [one.uri for one in (*found.playlists, *found.media, *found.iframe_playlists) if one.uri]
    named = [url for one in representations(mpd(of)).values() for _, url in bases(one)]
    for url in (*listed, *named):
        assert urlsplit(url).netloc in known
        assert split_token(urlsplit(url).path)[0] == TOKEN
    inside = {path for one in kept for path in (one.playlist_path, one.iframe_playlist_path) if path}
    assert {split_token(urlsplit(url).path)[1] for url in listed} == inside
    assert {split_token(urlsplit(url).path)[1] for url in named} == {one.path for one in kept}


@given(KEPT, PLACES)
def test_whatever_is_kept_every_group_that_is_named_has_members(kept: list[Rendition], names: list[str]) -> None:
    found = m3u8.loads(master(sheet(kept, names)))
    groups = {(one.type, one.group_id) for one in found.media}
    for one in found.playlists:
        if one.stream_info.audio:
            assert ("AUDIO", one.stream_info.audio) in groups
        if one.stream_info.subtitles:
            assert ("SUBTITLES", one.stream_info.subtitles) in groups


EXTRA = published_mpd().decode()
EXTRA = EXTRA.replace(
    '<Period id="0">',
    '<BaseURL>./</BaseURL><Location>http://elsewhere.example/</Location><odd:Thing xmlns:odd="urn:odd" odd:a="1">x</odd:Thing>'
    '<Period id="0" odd:b="2" xmlns:odd="urn:odd"><AssetIdentifier schemeIdUri="urn:odd:asset" value="7"/>',
)
EXTRA = EXTRA.replace(
    'subsegmentAlignment="true" par="4:3">',
    'subsegmentAlignment="true" par="4:3"><ContentProtection schemeIdUri="urn:uuid:edef8ba9" xmlns:cenc="urn:mpeg:cenc:2013">'
    "<cenc:pssh>AAAA</cenc:pssh></ContentProtection>"
    '<SupplementalProperty schemeIdUri="urn:mpeg:dash:adaptation-set-switching:2016" value="2, 3,77"/>',
)


def test_what_is_not_known_here_passes_through_and_addresses_above_are_taken_away() -> None:
    text = mpd(sheet(), EXTRA.encode())
    for kept in ("<cenc:pssh>AAAA</cenc:pssh>", '<odd:Thing xmlns:odd="urn:odd" odd:a="1">x</odd:Thing>', 'odd:b="2"',
                 '<AssetIdentifier schemeIdUri="urn:odd:asset" value="7"/>', 'value="2,3"'):  # fmt: skip
        assert kept in text
    assert "elsewhere" not in text
    root = ET.fromstring(text)
    assert root.findall("d:BaseURL", NS) == []
    assert sorted(representations(text)) == sorted(BY_ID)


def test_a_set_that_is_gone_is_not_switched_to() -> None:
    text = mpd(sheet([BY_ID["v-120"], BY_ID["a-en"]]), EXTRA.encode())
    assert 'value="3"' in text
    assert "switching" not in mpd(sheet([BY_ID["v-120"]]), EXTRA.encode())


def test_trick_play_of_a_set_goes_with_it() -> None:
    mark = '<EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="{}"/>'
    document = published_mpd().decode().replace('<Representation id="a-de"', mark + '<Representation id="a-de"')
    assert sorted(representations(mpd(sheet(), document.format("3").encode()))) == sorted(BY_ID)
    assert "a-de" not in representations(mpd(sheet(), document.format("77").encode()))


BOUNDS = ("minWidth", "maxWidth", "maxHeight", "minBandwidth", "maxBandwidth", "maxFrameRate")


def bounds(text: str) -> list[str | None]:
    found = ET.fromstring(text).find(".//d:AdaptationSet[@contentType='video']", NS)
    assert found is not None
    return [found.get(name) for name in BOUNDS]


def test_bounds_of_a_set_are_those_of_what_is_left_of_it() -> None:
    more = 'maxHeight="180" minWidth="160" minBandwidth="1" maxBandwidth="9" maxFrameRate="30000/1001"'
    document = published_mpd().decode().replace('maxHeight="180"', more)
    document = document.replace('height="120"', 'height="120" frameRate="15"')
    document = document.replace('height="180">', 'height="180" frameRate="30000/1001">')
    low, high = (rest(document, "v-180", "a-en"), rest(document, "v-120", "a-en"))
    assert bounds(low) == ["160", "160", "120", "266508", "266508", "15"]
    assert bounds(high) == ["240", "240", "180", "551252", "551252", "30000/1001"]
    assert bounds(rest(document)) == ["160", "240", "180", "1", "9", "30000/1001"], "whole sets stay as they were"


@pytest.mark.parametrize("odd", ["", 'frameRate="1/0"', 'frameRate="fast"'])
def test_a_bound_that_cannot_be_known_any_more_is_left_out(odd: str) -> None:
    document = published_mpd().decode().replace('maxHeight="180"', 'maxHeight="180" maxFrameRate="60"')
    document = document.replace('height="120"', f'height="120" {odd}')
    assert bounds(rest(document, "v-180"))[-1] is None


def test_what_names_a_set_that_is_gone_names_it_no_more() -> None:
    named = '<Subset contains="1 3 2"/><Subset contains="2"/><Preselection id="p" preselectionComponents="1 3"/>'
    named += '<Preselection id="q" preselectionComponents="1 2"/></Period>'
    text = rest(published_mpd().decode().replace("</Period>", named), "a-de")
    root = ET.fromstring(text)
    assert [one.get("contains") for one in root.iterfind(".//d:Subset", NS)] == ["1 3"]
    assert [one.get("id") for one in root.iterfind(".//d:Preselection", NS)] == ["p"]


def test_a_representation_names_no_other_that_is_gone() -> None:
    document = published_mpd().decode()
    document = document.replace(
        '<Representation id="a-en"', '<Representation associationId="v-180" associationType="cdsc" id="a-en"'
    )
    document = document.replace(
        '<Representation id="s-en"', '<Representation dependencyId="v-120 a-en" associationId="v-120" id="s-en"'
    )
    found = representations(rest(document, "v-180"))
    assert {found["a-en"].get(name) for name in ("associationId", "associationType")} == {None}
    assert (found["s-en"].get("dependencyId"), found["s-en"].get("associationId")) == ("v-120 a-en", "v-120")
    assert representations(rest(document, "a-de"))["a-en"].get("associationType") == "cdsc"


def rest(document: str, *without: str) -> str:
    """The manifest of a session that has all renditions but some."""
    return mpd(sheet([one for one in renditions() if one.id not in without]), document.encode())


def test_another_prefix_for_dash_is_kept_for_what_is_added() -> None:
    root = DASH.parse(published_mpd())
    text = mpd(sheet(steering=STEERING), DASH.write(_prefixed(root)).encode())
    assert "<mpd:BaseURL serviceLocation=" in text
    assert "<mpd:ContentSteering " in text
    assert sorted(representations(text)) == sorted(BY_ID)


def test_tags_that_are_not_known_here_pass_through_and_relative_addresses_become_whole() -> None:
    more = (
        b'#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple.streamingkeydelivery"\n'
        b'#EXT-X-SESSION-DATA:DATA-ID="a",URI="about.json"\n#EXT-X-ODD:1\n#EXT-X-CONTENT-STEERING:SERVER-URI="/x"\n'
        b'#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="c",INSTREAM-ID="CC1"\n'
    )
    document = (
        published_m3u8().replace(b"#EXTM3U\n", more, 1).replace(b"RESOLUTION=160x120", b'RESOLUTION=160x120,ODD="x"')
    )
    document = document.replace(b"CLOSED-CAPTIONS=NONE", b'CLOSED-CAPTIONS="cc"')
    text = master(sheet(steering=STEERING), document)
    assert '#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://k",' in text
    assert f'DATA-ID="a",URI="{ORIGIN_URL}/~{TOKEN}/media/tide/base/about.json"' in text
    assert "#EXT-X-ODD:1\n" in text
    assert text.count('ODD="x"') == 4 * 3
    assert text.count("#EXT-X-CONTENT-STEERING") == 1
    assert text.count('TYPE=CLOSED-CAPTIONS,GROUP-ID="cc-') == 4
    assert 'CLOSED-CAPTIONS="cc-pathway-2"' in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("urn:mpeg:dash:schema:mpd:2011", "urn:other", "its root is 'MPD' and not an MPD of"),
        ("../hd/v-180.mp4", "../sd/v-120.mp4", "two Representations are /media/tide/sd/v-120.mp4"),
        ("../hd/v-180.mp4", "http://elsewhere.example/v-180.mp4", "it lacks /media/tide/hd/v-180.mp4"),
        ("../hd/v-180.mp4", "http://[", "it lacks /media/tide/hd/v-180.mp4"),
        ("a-en.mp4", "../../other/base/a-en.mp4", "it lacks /media/tide/base/a-en.mp4"),
    ],
)
def test_an_mpd_of_something_else_is_refused_in_words(old: str, new: str, words: str) -> None:
    with pytest.raises(BadManifest) as refused:
        mpd(sheet(), published_mpd().decode().replace(old, new).encode())
    assert str(refused.value).startswith(words)


def test_a_playlist_of_something_else_is_refused_in_words() -> None:
    with pytest.raises(BadManifest, match=r"it lacks /media/tide/hd/v-180\.m3u8"):
        master(sheet(), published_m3u8().replace(b"../hd/v-180.m3u8", b"../../tide2/hd/v-180.m3u8"))


def test_a_rendition_outside_the_session_is_nowhere_in_either() -> None:
    of = sheet([one for one in renditions() if one.tier != "hd"])
    assert "v-180" not in mpd(of)
    assert "v-180" not in master(of)


def _prefixed(element: Element) -> Element:
    children = tuple(_prefixed(child) if isinstance(child, Element) else child for child in element.children)
    attributes = tuple(
        (name.replace("xmlns", "xmlns:mpd") if name == "xmlns" else name, value) for name, value in element.attributes
    )
    return Element(f"mpd:{element.name}", attributes, children, element.namespace)
