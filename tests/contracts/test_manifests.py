"""Manifests as documents: what is read is written again, and nothing but BadManifest leaves, whatever the bytes are."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET

import m3u8
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.manifests import elements, playlists
from contracts.manifests.bad import MAX_BYTES, MAX_PARTS, BadManifest
from contracts.manifests.elements import Element
from contracts.manifests.playlists import Attribute, Playlist, Tag

MPD = b"""<?xml version="1.0"?><!-- made by a packager -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013" odd:new="1" xmlns:odd="urn:odd">
  <odd:Element a='"' b="&lt;&amp;&#10;">text &amp; <odd:inner/> tail</odd:Element>
  <Period><AdaptationSet><ContentProtection cenc:default_KID="0"><cenc:pssh>AAAA</cenc:pssh></ContentProtection></AdaptationSet></Period>
</MPD>"""
PLAYLIST = b"""#EXTM3U
## a comment
#EXT-X-VERSION:9

#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://key,with=a comma",KEYFORMAT="com.apple.streamingkeydelivery"
#EXT-X-NEW-THING:whatever it is, it stays
#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1.4d400b,mp4a.40.2",REQ-NEW="x=y",VIDEO-RANGE=PQ,RESOLUTION=160x120
v.m3u8
"""


def test_an_mpd_is_written_as_it_was_read_with_everything_that_is_not_known() -> None:
    root = elements.parse(MPD)
    written = elements.write(root)
    assert elements.parse(written.encode()) == root
    assert _canonical(written) == _canonical(MPD.decode())


def test_names_keep_their_prefixes_and_know_their_namespaces() -> None:
    root = elements.parse(MPD)
    protection = next(next(next(child for child in root.elements() if child.local == "Period").elements()).elements())
    (pssh,) = protection.elements()
    assert (protection.namespace, pssh.name, pssh.namespace) == (root.namespace, "cenc:pssh", "urn:mpeg:cenc:2013")
    assert protection.get("cenc:default_KID") == "0"


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")) | st.sampled_from("\t\n<>&\"'"), max_size=8
)
_NAMES = st.sampled_from(["MPD", "a", "x-y", "Ünï"])
_ELEMENTS = st.recursive(
    st.builds(lambda name, attributes: Element(name, tuple(attributes.items())), _NAMES, st.dictionaries(_NAMES, _TEXT, max_size=2)),
    lambda inner: st.builds(lambda element, children: element.holding(tuple(children)), st.builds(Element, _NAMES), st.lists(inner, max_size=3)),
    max_leaves=12,
)  # fmt: skip


@given(_ELEMENTS)
def test_any_tree_is_read_as_it_was_written(tree: Element) -> None:
    assert elements.parse(elements.write(tree).encode()) == tree


@given(_TEXT.filter(str.strip))
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    assert elements.parse(elements.write(Element("a", children=(text,))).encode()).children == (text,)


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><MPD>&b;</MPD>"""


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "it is not XML"),
        (b"#EXTM3U", "it is not XML"),
        (b"<MPD>", "it is not XML"),
        (b"<MPD a='1' a='2'/>", "it is not XML: duplicate attribute"),
        (b"<MPD/><MPD/>", "it is not XML: junk after document element"),
        (b"<MPD>\xff</MPD>", "it is not XML"),
        (b"<MPD>\x00</MPD>", "it is not XML"),
        (b"<?xml version='1.0' encoding='klingon'?><MPD/>", "it is not XML"),
        (b"<?xml version='1.0' encoding='utf-7'?><MPD/>", "it is not XML"),
        (b"<MPD>&other;</MPD>", "it is not XML: undefined entity"),
        (b"<odd:MPD/>", "the prefix of 'odd:MPD' is not declared"),
        (b"<MPD odd:a='1'/>", "the prefix of 'odd:a' is not declared"),
        (LAUGHS, "it has a document type (MPD): entities are not expanded here"),
        (b"<!DOCTYPE MPD SYSTEM 'file:///etc/passwd'><MPD/>", "it has a document type (MPD)"),
        (b"<a>" * 40 + b"</a>" * 40, "its elements are nested more than 32 deep"),
        (b"<a>" + b"<b/>" * MAX_PARTS + b"</a>", f"it has more than {MAX_PARTS} elements"),
        (b" " * (MAX_BYTES + 1), f"it has {MAX_BYTES + 1} bytes, at most {MAX_BYTES} are read"),
    ],
    ids=range(17),
)
def test_a_document_that_is_no_mpd_is_refused_in_words(document: bytes, words: str) -> None:
    with pytest.raises(BadManifest) as refused:
        elements.parse(document)
    assert str(refused.value).startswith(words)


def test_utf_16_is_read_as_what_it_is() -> None:
    assert elements.parse('<?xml version="1.0" encoding="utf-16"?><a>ü</a>'.encode("utf-16")).text == "ü"


def test_a_playlist_is_written_as_it_was_read_without_comments_and_empty_lines() -> None:
    lines = [line for line in PLAYLIST.decode().splitlines() if line and not line.startswith("##")]
    assert playlists.write(playlists.parse(PLAYLIST)).splitlines() == lines


def test_attributes_are_found_by_name_with_commas_inside_their_quotes() -> None:
    tags = playlists.parse(PLAYLIST).tags
    assert [tag.name for tag in tags] == ["EXT-X-VERSION", "EXT-X-SESSION-KEY", "EXT-X-NEW-THING", "EXT-X-STREAM-INF"]
    assert tags[1].get("URI") == "skd://key,with=a comma"
    assert (tags[3].get("CODECS"), tags[3].get("VIDEO-RANGE"), tags[3].uri) == ("avc1.4d400b,mp4a.40.2", "PQ", "v.m3u8")


def test_another_parser_finds_the_same_in_what_is_written() -> None:
    found = m3u8.loads(playlists.write(playlists.parse(PLAYLIST)))
    (variant,) = found.playlists
    assert (variant.uri, variant.stream_info.codecs, variant.stream_info.resolution) == (
        "v.m3u8",
        "avc1.4d400b,mp4a.40.2",
        (160, 120),
    )


_VALUES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters='"'), max_size=8
)
_ATTRIBUTES = st.builds(Attribute, st.from_regex(r"[A-Z0-9-]{1,8}", fullmatch=True), _VALUES, st.just(True))


@given(st.lists(st.lists(_ATTRIBUTES, min_size=1, max_size=4, unique_by=lambda a: a.name), max_size=4))
def test_any_attributes_are_read_as_they_were_written(lists: list[list[Attribute]]) -> None:
    playlist = Playlist(tuple(Tag(playlists.MEDIA, tuple(attributes)) for attributes in lists))
    assert playlists.parse(playlists.write(playlist).encode()) == playlist


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "line 1 is not #EXTM3U"),
        (b"<MPD/>", "line 1 is not #EXTM3U"),
        (b"\xef\xbb\xbf#EXTM3U\n", "line 1 is not #EXTM3U"),
        (b'#EXTM3U\n#EXT-X-MEDIA:NAME="\xff"', "byte 27 is not UTF-8"),
        (b"#EXTM3U\nv.m3u8\n", "line 2: an address without EXT-X-STREAM-INF before it"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:A=1\n\n#EXT-X-VERSION:1\n", "line 4: the address of the EXT-X-STREAM-INF before"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:A=1\n", "it ends after EXT-X-STREAM-INF, without its address"),
        (b"#EXTM3U\n#EXTINF:4,\n", "line 2: EXTINF makes it a media playlist"),
        (b"#EXTM3U\n#EXT-X-MEDIA:A=1,A=2\n", "line 2: EXT-X-MEDIA: has A twice"),
        (b'#EXTM3U\n#EXT-X-MEDIA:A="1\n', "line 2: EXT-X-MEDIA: the quotes of A are not closed"),
        (b'#EXTM3U\n#EXT-X-MEDIA:A="1"2,B=3\n', "line 2: EXT-X-MEDIA: the value of A goes on after its quotes"),
        (b"#EXTM3U\n#EXT-X-MEDIA:A=,B=3\n", "line 2: EXT-X-MEDIA: A has no value"),
        (b'#EXTM3U\n#EXT-X-MEDIA:A=1"2\n', "line 2: EXT-X-MEDIA: the value of A has a stray quote"),
        (b"#EXTM3U\n#EXT-X-MEDIA:nonsense\n", "line 2: EXT-X-MEDIA: 'nonsense' is no attribute"),
        (b"#EXTM3U\n#EXT-X-VERSION:\x1b[2J\n", "line 2: holds a control character"),
        (b"#EXTM3U\n" + b"\n" * MAX_PARTS, f"it has more than {MAX_PARTS} lines"),
    ],
    ids=range(16),
)
def test_a_document_that_is_no_multivariant_playlist_is_refused_in_words(document: bytes, words: str) -> None:
    with pytest.raises(BadManifest) as refused:
        playlists.parse(document)
    assert str(refused.value).startswith(words)


@given(st.binary(max_size=60))
@example(b'<?xml version="1.0" encoding="idna"?><a/>')
@example(b'<?xml version="1.0" encoding="hex"?><a/>')
def test_no_bytes_make_a_parser_raise_anything_else(noise: bytes) -> None:
    for parse, known in ((elements.parse, MPD), (playlists.parse, PLAYLIST)):
        for document in (noise, known[:40] + noise + known[40:]):
            with contextlib.suppress(BadManifest):
                parse(document)


def _canonical(text: str) -> str:
    return ET.canonicalize(text, strip_text=True)
