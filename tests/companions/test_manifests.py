"""Both manifests as drawn from the catalog's facts, parsed as a player would: structure against the standards, and laws over any ranking."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companions.playback import manifests
from companions.playback.manifest_mpd import frame_rate, iso_duration
from companions.playback.manifests import Form
from companions.playback.pathways import first_site, network_of, rank_files, routes
from companions.playback.sheets import Sheet
from contracts.catalogue import FileKind, Rendition
from contracts.world import Choice, GroupRanking, Ranking, Why
from tests.companions.lab import ORIGIN_URL, ladder, rendition

D = TypeVar("D")
TOKEN = "aaa.bbb-_.ccc"
DASH = {"d": "urn:mpeg:dash:schema:mpd:2011"}


def _ranking(places: dict[str, list[str]], origin: str = ORIGIN_URL) -> Ranking:
    groups = []
    for group, names in places.items():
        choices = [Choice(name, f"site-{name}", f"http://{name}.example:80/", Why.HOLDS) for name in names]
        groups.append(GroupRanking(group, (*choices, Choice("", "", origin, Why.ORIGIN))))
    return Ranking(1, "", "", tuple(groups))


def _sheet(renditions: tuple[Rendition, ...], ranking: Ranking | None) -> Sheet:
    return Sheet(61.44, routes("tide", renditions, ranking, ORIGIN_URL), TOKEN)


ALL = {f"tide/{r.id}": ["a1", "a2", "b1"] for r in ladder("tide")}


def _drawn(form: Form[D], sheet: Sheet) -> str:
    """The manifest of a title that was published without one."""
    return form.write(form.personal(form.from_facts(sheet), sheet, "/"))


def _mpd(sheet: Sheet) -> ET.Element:
    text = _drawn(manifests.DASH, sheet)
    assert text.startswith("<?xml")
    return ET.fromstring(text)


def _bases(representation: ET.Element) -> list[tuple[str, str]]:
    return [(b.get("serviceLocation", ""), b.text or "") for b in representation.findall("d:BaseURL", DASH)]


def test_the_mpd_is_an_on_demand_presentation() -> None:
    mpd = _mpd(_sheet(ladder("tide"), _ranking(ALL)))
    assert mpd.tag == "{urn:mpeg:dash:schema:mpd:2011}MPD"
    assert mpd.get("type") == "static"
    assert mpd.get("profiles") == "urn:mpeg:dash:profile:isoff-on-demand:2011"
    assert mpd.get("mediaPresentationDuration") == "PT61.44S"
    assert mpd.get("minBufferTime") == "PT4S"
    (period,) = mpd.findall("d:Period", DASH)
    assert [s.get("contentType") for s in period.findall("d:AdaptationSet", DASH)] == ["video", "audio"]


def test_each_adaptation_set_says_that_its_representations_can_be_switched_at_every_segment() -> None:
    for adaptation_set in _mpd(_sheet(ladder("tide"), None)).iterfind(".//d:AdaptationSet", DASH):
        assert adaptation_set.get("segmentAlignment") == "true"
        assert adaptation_set.get("subsegmentAlignment") == "true"
        assert adaptation_set.get("startWithSAP") == adaptation_set.get("subsegmentStartsWithSAP") == "1"
        assert adaptation_set.get("mimeType") in ("video/mp4", "audio/mp4")


def test_representations_carry_what_a_player_chooses_by_and_where_the_index_is() -> None:
    mpd = _mpd(_sheet(ladder("tide"), _ranking(ALL)))
    by_id = {r.get("id"): r for r in mpd.iterfind(".//d:Representation", DASH)}
    low = by_id["v-360"]
    assert {name: low.get(name) for name in ("bandwidth", "codecs", "width", "height", "frameRate")} == {
        "bandwidth": "600000",
        "codecs": "avc1.4d401e",
        "width": "640",
        "height": "360",
        "frameRate": "30000/1001",
    }
    base = low.find("d:SegmentBase", DASH)
    assert base is not None
    assert base.get("indexRange") == "800-1199"
    initialization = base.find("d:Initialization", DASH)
    assert initialization is not None
    assert initialization.get("range") == "0-799"
    audio = by_id["a-und-96k"]
    assert audio.get("audioSamplingRate") == "48000"
    channels = audio.find("d:AudioChannelConfiguration", DASH)
    assert channels is not None
    assert channels.get("value") == "2"


def test_children_stand_in_the_order_of_the_schema() -> None:
    order = ["AudioChannelConfiguration", "BaseURL", "SegmentBase"]
    for representation in _mpd(_sheet(ladder("tide"), _ranking(ALL))).iterfind(".//d:Representation", DASH):
        names = [child.tag.partition("}")[2] for child in representation]
        assert names == sorted(names, key=order.index)


def test_each_representation_has_up_to_three_appliances_and_then_the_origin() -> None:
    for representation in _mpd(_sheet(ladder("tide"), _ranking(ALL))).iterfind(".//d:Representation", DASH):
        bases = _bases(representation)
        assert [name for name, _ in bases] == ["pathway-1", "pathway-2", "pathway-3", "origin"]
        assert [urlsplit(url).hostname for _, url in bases] == ["a1.example", "a2.example", "b1.example", "127.0.0.9"]
        assert all(urlsplit(url).path.startswith(f"/~{TOKEN}/media/tide/") for _, url in bases)


def test_without_a_ranking_everything_comes_from_the_origin() -> None:
    for representation in _mpd(_sheet(ladder("tide"), None)).iterfind(".//d:Representation", DASH):
        assert [(name, urlsplit(url).netloc) for name, url in _bases(representation)] == [("origin", "127.0.0.9:9009")]


def test_languages_and_codec_families_are_sets_of_their_own() -> None:
    more = (
        *ladder("tide"),
        rendition("tide", "a-de-96k", FileKind.AUDIO, "base", 98_000, language="de", channels=2),
        rendition("tide", "v-360-av1", FileKind.VIDEO, "sd", 400_000, codecs="av01.0.04M.08", width=640, height=360),
        rendition("tide", "s-en", FileKind.SUBTITLES, "base", 1_000, codecs="wvtt", language="en"),
    )
    sets = _mpd(_sheet(more, None)).findall(".//d:AdaptationSet", DASH)
    kinds = [(s.get("contentType"), s.get("lang")) for s in sets]
    assert sorted(kinds, key=str) == sorted(
        [("video", None), ("video", None), ("audio", "en"), ("audio", "de"), ("text", "en")], key=str
    )
    assert len({s.get("id") for s in sets}) == 5


@given(st.text(alphabet="<>&\"'a", min_size=1, max_size=8))
def test_no_text_breaks_the_document(text: str) -> None:
    odd = rendition("tide", "v-360", FileKind.VIDEO, "sd", 1, codecs=text)
    mpd = _mpd(Sheet(1.0, routes("tide", (odd,), None, "http://o.example/" + text), TOKEN))
    (representation,) = mpd.iterfind(".//d:Representation", DASH)
    assert representation.get("codecs") == text


@given(st.floats(0.001, 400_000))
def test_durations_are_right_to_the_millisecond(seconds: float) -> None:
    match = re.fullmatch(r"PT(\d+(?:\.\d+)?)S", iso_duration(seconds))
    assert match is not None
    assert abs(float(match[1]) - seconds) <= 0.0006


@pytest.mark.parametrize(
    ("fps", "text"), [(24.0, "24"), (30000 / 1001, "30000/1001"), (24000 / 1001, "24000/1001"), (12.5, "25/2")]
)
def test_frame_rates_are_whole_or_fractions(fps: float, text: str) -> None:
    assert frame_rate(fps) == text
    assert abs(float(Fraction(text)) - fps) < 1e-6


@dataclass(frozen=True)
class Master:
    media: list[dict[str, str]]
    variants: list[tuple[dict[str, str], str]]


def _attributes(line: str) -> dict[str, str]:
    found = re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)(?:,|$)', line.partition(":")[2])
    assert ",".join(f"{name}={value}" for name, value in found) == line.partition(":")[2]
    return {name: value.strip('"') for name, value in found}


def _master(sheet: Sheet) -> Master:
    lines = _drawn(manifests.HLS, sheet).splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    media = [_attributes(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    variants = [
        (_attributes(line), lines[number + 1])
        for number, line in enumerate(lines)
        if line.startswith("#EXT-X-STREAM-INF:")
    ]
    steered = lines[3].startswith("#EXT-X-CONTENT-STEERING:")
    assert len(lines) == 3 + steered + len(media) + 2 * len(variants)
    return Master(media, variants)


def test_a_variant_says_what_it_is_and_counts_the_sound_with_the_picture() -> None:
    master = _master(_sheet(ladder("tide"), _ranking(ALL)))
    first, uri = master.variants[0]
    assert first == {
        "BANDWIDTH": str(600_000 + 98_000),
        "AVERAGE-BANDWIDTH": str(480_000 + 78_400),
        "CODECS": "avc1.4d401e,mp4a.40.2",
        "RESOLUTION": "640x360",
        "FRAME-RATE": "29.970",
        "VIDEO-RANGE": "SDR",
        "AUDIO": "audio-pathway-1",
        "STABLE-VARIANT-ID": "v-360",
        "PATHWAY-ID": "pathway-1",
    }
    assert uri == f"http://a1.example:80/~{TOKEN}/media/tide/sd/v-360.m3u8"


def test_audio_groups_name_media_playlists_on_their_pathway() -> None:
    master = _master(_sheet(ladder("tide"), _ranking(ALL)))
    assert [(m["TYPE"], m["GROUP-ID"], urlsplit(m["URI"]).hostname) for m in master.media] == [
        ("AUDIO", "audio-pathway-1", "a1.example"),
        ("AUDIO", "audio-pathway-2", "a2.example"),
        ("AUDIO", "audio-pathway-3", "b1.example"),
        ("AUDIO", "audio-origin", "127.0.0.9"),
    ]
    assert all(m["DEFAULT"] == "YES" and m["URI"].endswith("/a-und-96k.m3u8") for m in master.media)


def _sound(name: str, language: str, bps: int, channels: int = 2) -> Rendition:
    return rendition("tide", name, FileKind.AUDIO, "base", bps, language=language, channels=channels)


def _text(name: str, **purpose: bool) -> Rendition:
    return rendition("tide", name, FileKind.SUBTITLES, "base", 1_000, codecs="wvtt", language="en", **purpose)


def test_players_begin_with_the_sound_that_the_catalog_names_first_whatever_its_rate() -> None:
    sounds = (_sound("a-de-96k", "de", 98_000), _sound("a-en-64k", "en", 64_000), _sound("a-de-51", "de", 240_000, 6))
    sheet = _sheet((*ladder("tide")[:3], *sounds), None)
    assert [(one["NAME"], one["DEFAULT"]) for one in _master(sheet).media] == [
        ("a-de-96k", "YES"), ("a-en-64k", "NO"), ("a-de-51", "NO")
    ]  # fmt: skip
    assert _sets(sheet, "audio") == [("de", ["main"]), ("en", []), ("de", ["main"])]


def test_subtitles_say_what_they_are_for() -> None:
    texts = (_text("s-en-forced", forced=True), _text("s-en"), _text("s-en-cc", for_deaf=True))
    sheet = _sheet((*ladder("tide"), *texts), None)
    said = [
        (one.get("FORCED"), one.get("CHARACTERISTICS")) for one in _master(sheet).media if one["TYPE"] == "SUBTITLES"
    ]
    deaf = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
    assert said == [("YES", None), (None, None), (None, deaf)]
    assert _sets(sheet, "text") == [("en", ["forced-subtitle"]), ("en", ["subtitle"]), ("en", ["caption"])]


def test_a_picture_says_its_range_of_light_and_is_not_switched_with_another_one() -> None:
    bright = rendition("tide", "v-360-pq", FileKind.VIDEO, "sd", 700_000, width=640, height=360, video_range="PQ")
    sheet = _sheet((*ladder("tide"), bright), None)
    assert {one["STABLE-VARIANT-ID"]: one["VIDEO-RANGE"] for one, _ in _master(sheet).variants} == {
        "v-360": "SDR", "v-360-pq": "PQ", "v-1080": "SDR", "v-2160": "SDR"
    }  # fmt: skip
    sets = _mpd(sheet).findall(".//d:AdaptationSet[@contentType='video']", DASH)
    curves = [[one.get("value") for one in its.findall("d:SupplementalProperty", DASH)] for its in sets]
    assert curves == [[], ["16"]]


def _sets(sheet: Sheet, content: str) -> list[tuple[str | None, list[str | None]]]:
    """Language and roles of each set."""
    found = _mpd(sheet).findall(f".//d:AdaptationSet[@contentType='{content}']", DASH)
    return [(its.get("lang"), [role.get("value") for role in its.findall("d:Role", DASH)]) for its in found]


_PLACES = st.fixed_dictionaries(
    {f"tide/{r.id}": st.lists(st.sampled_from(["a1", "a2", "b1", "b2", "c1"]), max_size=5) for r in ladder("tide")}
)


@given(_PLACES)
def test_whatever_the_ranking_all_pathways_offer_the_same_variants_and_the_origin_is_last(
    places: dict[str, list[str]],
) -> None:
    master = _master(_sheet(ladder("tide"), _ranking(places)))
    by_pathway: dict[str, list[str]] = {}
    for variant, _ in master.variants:
        by_pathway.setdefault(variant["PATHWAY-ID"], []).append(variant["STABLE-VARIANT-ID"])
    assert list(by_pathway)[-1] == "origin"
    assert len(by_pathway) <= 5
    assert all(ids == ["v-360", "v-1080", "v-2160"] for ids in by_pathway.values())
    groups = {(m["GROUP-ID"]) for m in master.media}
    assert {variant["AUDIO"] for variant, _ in master.variants} == groups


@given(_PLACES)
def test_whatever_the_ranking_each_rendition_begins_at_its_own_and_every_further_pathway_is_one_appliance(
    places: dict[str, list[str]],
) -> None:
    made = routes("tide", ladder("tide"), _ranking(places), ORIGIN_URL)
    with_appliances = [route for route in made if len(route.places) > 1]
    for route in made:
        wanted = [f"http://{name}.example:80" for name in places[f"tide/{route.rendition.id}"]]
        assert (route in with_appliances) == bool(wanted)
        assert route.places[0].url == (wanted[0] if wanted else ORIGIN_URL)
        assert route.places[-1].url == ORIGIN_URL
        assert {place.url for place in route.in_turn} == {place.url for place in route.places}
    further = [[place.url for place in route.places[1:-1]] for route in with_appliances]
    assert all(its == further[0] for its in further)
    assert all(len(its) == len(set(its)) <= 3 for its in further)
    firsts = {route.places[0].url for route in with_appliances}
    assert len(firsts) < 2 or all(set(further[0]) - {url} for url in firsts), "who leaves one of them can go to another"


def test_a_player_that_tries_one_place_after_the_other_meets_none_again_before_it_has_met_all() -> None:
    made = routes(
        "tide", ladder("tide"), _ranking({"tide/v-360": ["a1", "a2"], "tide/v-1080": ["a2", "a1"]}), ORIGIN_URL
    )
    turns = {route.rendition.id: [place.url[7:9] for place in route.in_turn[:-1]] for route in made if route.places[1:]}
    assert turns == {"v-360": ["a1", "a2", "a1"], "v-1080": ["a2", "a1", "a2"]}


def test_the_origin_that_steering_names_is_taken_before_the_one_in_the_settings() -> None:
    made = routes("tide", ladder("tide"), _ranking(ALL, "http://other.example"), ORIGIN_URL)
    assert {route.places[-1].url for route in made} == {"http://other.example"}


def test_steering_is_asked_for_each_rendition_under_its_group() -> None:
    files = rank_files("tide", ladder("tide"))
    assert (files[0].key, files[0].group) == ("vod|/media/tide/sd/v-360.mp4", "tide/v-360")
    assert len(files) == 4


def test_the_site_of_a_session_is_where_its_first_choice_stands() -> None:
    assert first_site(_ranking(ALL)) == "site-a1"
    assert first_site(_ranking({"tide/v-360": []})) == ""
    assert first_site(None) == ""


def test_neighbours_share_a_network() -> None:
    assert network_of("127.1.9.50") == network_of("127.1.9.7") == "127.1.9.0/24"
    assert network_of("2001:db8:1:2::3") == network_of("2001:db8:1:ffff::1") == "2001:db8:1::/48"
