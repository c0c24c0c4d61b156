"""CMCD as players send it, and as nobody should; CMSD as we say it (CTA-5004, CTA-5004-A, CTA-5006)."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.cmcd import (
    MAX_OTHER_KEYS,
    Cmcd,
    CmcdItem,
    CmcdKey,
    CmcdKind,
    NextObject,
    Scalar,
    next_objects,
    read_headers,
    read_payload,
    read_query,
)
from contracts.cmsd import CmsdDynamic, CmsdStatic, render_dynamic, render_static

USUAL = (
    'bl=21300,br=3200,bs,cid="faec5fc2-ac30-11ea-bb37-0242ac130002",d=4004,dl=18500,mtp=48100,nor="..%2F300kbps%2Ftrack.m4v",'
    'nrr="12323-48763",ot=v,pr=1.08,rtp=12000,sf=d,sid="6e2fb550-c457-11e9-bb97-0800200c9a66",st=v,su,tb=6000'
)
USUAL_VALUES: dict[str, Scalar] = {
    "bl": 21300,
    "br": 3200,
    "bs": True,
    "cid": "faec5fc2-ac30-11ea-bb37-0242ac130002",
    "d": 4004,
    "dl": 18500,
    "mtp": 48100,
    "nor": "..%2F300kbps%2Ftrack.m4v",
    "nrr": "12323-48763",
    "ot": "v",
    "pr": 1.08,
    "rtp": 12000,
    "sf": "d",
    "sid": "6e2fb550-c457-11e9-bb97-0800200c9a66",
    "st": "v",
    "su": True,
    "tb": 6000,
}


def in_query(payload: str) -> bytes:
    return b"CMCD=" + quote(payload, safe="").encode()


def test_a_query_argument_gives_every_key_with_its_type() -> None:
    assert read_query(in_query(USUAL)) == Cmcd(USUAL_VALUES)


@pytest.mark.parametrize("query", [b"a=1&%s", b"%s&a=1", b"x=CMCD%%3D&%s&CMCDX=1"])
def test_the_argument_may_stand_anywhere_in_the_query(query: bytes) -> None:
    assert read_query(query % in_query("bl=100,su")).values == {"bl": 100, "su": True}


@pytest.mark.parametrize("query", [b"", b"a=1", b"XCMCD=bl%3D1", b"CMCD=", b"CMCD", b"cmcd=bl%3D1"])
def test_a_query_without_the_argument_says_nothing(query: bytes) -> None:
    assert read_query(query) == Cmcd({})


def test_escapes_in_lower_case_and_characters_that_need_none_are_the_same_payload() -> None:
    assert read_query(in_query(USUAL).replace(b"%2C", b"%2c").replace(b"%3D", b"%3d")).values == USUAL_VALUES
    assert read_query(b'CMCD=bl=100,sid="a b"').values == {"bl": 100, "sid": "a b"}


def test_the_four_headers_are_one_payload() -> None:
    lines = [b"br=3200,d=4004, ot=v", b"bl=21300", b"bs,rtp=15000", b'sid="a-b",sf=h,st=v']
    expected: dict[str, Scalar] = {
        "br": 3200,
        "d": 4004,
        "ot": "v",
        "bl": 21300,
        "bs": True,
        "rtp": 15000,
        "sid": "a-b",
        "sf": "h",
        "st": "v",
    }
    assert read_headers(lines) == Cmcd(expected)


def test_a_string_may_hold_commas_equals_signs_and_escaped_quotes() -> None:
    payload = r'cid="a,b=c\"d\\e",bl=100'
    assert read_query(in_query(payload)).values == {"cid": 'a,b=c"d\\e', "bl": 100}


def test_a_list_of_version_2_counts_by_its_video_and_is_kept_whole() -> None:
    cmcd = read_query(in_query('v=2,br=(128;a 3000;v),tb=(128;a),sta=p,bg=?0,ltc=2500,cdn="one"'))
    assert cmcd.values == {"v": 2, "br": 3000, "tb": 128, "sta": "p", "bg": False, "ltc": 2500, "cdn": "one"}
    assert cmcd.lists == {
        "br": (CmcdItem(128, {"a": True}), CmcdItem(3000, {"v": True})),
        "tb": (CmcdItem(128, {"a": True}),),
    }


def test_hints_of_both_versions_name_the_next_object_and_its_bytes() -> None:
    assert next_objects(read_payload('nor="..%2Fhigh%2Fseg.m4s",nrr="0-99"')) == (
        NextObject("../high/seg.m4s", "0-99"),
    )
    assert next_objects(read_payload('nrr="100-199"')) == (NextObject("", "100-199"),)
    assert next_objects(read_payload('nor=("a.mp4";r="0-99" "b.mp4"),v=2')) == (
        NextObject("a.mp4", "0-99"),
        NextObject("b.mp4"),
    )
    assert next_objects(read_payload("bl=100")) == ()


def test_an_unknown_key_is_kept_as_it_came() -> None:
    cmcd = read_payload('com.example-hello="a,b",bl=100,x-flag,x-n=(1 2)')
    assert cmcd == Cmcd({"bl": 100}, None, {"com.example-hello": '"a,b"', "x-flag": "", "x-n": "(1 2)"})


def test_unknown_keys_are_bounded() -> None:
    cmcd = read_payload(",".join(f"x-{number}=1" for number in range(MAX_OTHER_KEYS + 5)))
    assert cmcd.other is not None
    assert len(cmcd.other) == MAX_OTHER_KEYS
    assert cmcd.malformed == 5


@pytest.mark.parametrize(
    "bad", ["bl=fast", "br=1e9", "bl", 'bl="100"', "su=maybe", "br=()", "br=(v a)", "tb=9999999999999999"]
)
def test_a_value_of_another_kind_is_dropped_and_counted(bad: str) -> None:
    assert read_payload(f"{bad},d=4000") == Cmcd({"d": 4000}, malformed=1)


@pytest.mark.parametrize(
    "payload", ["bl=100,bl=200", "bl=100,x-a=1,bl=200", "bl=(100),bl=200", "bl=(100),x-a=1,bl=200"]
)
def test_of_two_equal_keys_the_last_counts(payload: str) -> None:
    cmcd = read_payload(payload)
    assert (cmcd.values, cmcd.lists, cmcd.malformed) == ({"bl": 200}, None, 0)


def test_reading_stops_where_no_member_begins() -> None:
    assert read_payload('bl=100,sid="never closed,d=4000') == Cmcd({"bl": 100}, malformed=1)


def test_a_payload_beyond_every_measure_is_not_looked_at() -> None:
    assert read_query(b"CMCD=" + b"x" * 100_000) == Cmcd({}, malformed=1)


_KINDS = {key.word: key.kind for key in CmcdKey}
_TYPES = {
    CmcdKind.INTEGER: (int,),
    CmcdKind.DECIMAL: (float,),
    CmcdKind.TOKEN: (str,),
    CmcdKind.STRING: (str,),
    CmcdKind.BOOLEAN: (bool,),
}
_pieces = st.sampled_from(
    [*_KINDS, "=", ",", '"', "(", ")", ";", "\\", "?1", "1", "-", ".", " ", "%", "%2C", "%22", "é", "\0", "&", "v"]
)


@given(st.one_of(st.binary(max_size=200), st.lists(_pieces, max_size=40).map(lambda pieces: "".join(pieces).encode())))
@example(b"bl=\xc2\xb2")
@example("bl=١".encode())
def test_whatever_comes_gives_values_of_the_tables_types(payload: bytes) -> None:
    for cmcd in (read_query(b"CMCD=" + payload), read_headers([payload])):
        for key, value in cmcd.values.items():
            assert type(value) in _TYPES[_KINDS[key]]


_values = {
    CmcdKind.INTEGER: st.integers(-(10**14), 10**14).map(lambda number: (str(number), number)),
    CmcdKind.TOKEN: st.from_regex(r"\A[a-z]{1,8}\Z").map(lambda word: (word, word)),
    CmcdKind.STRING: st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30).map(
        lambda text: ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"', text)
    ),
    CmcdKind.BOOLEAN: st.booleans().map(lambda flag: ("?1" if flag else "?0", flag)),
    CmcdKind.DECIMAL: st.integers(0, 4000).map(lambda number: (str(number / 100), number / 100)),
}


@given(st.lists(st.sampled_from(list(CmcdKey)), unique=True, max_size=12).flatmap(
    lambda keys: st.tuples(st.just(keys), st.tuples(*(_values[key.kind] for key in keys)))
))  # fmt: skip
def test_what_is_written_by_the_standard_is_read_by_either_way(
    case: tuple[list[CmcdKey], tuple[tuple[str, object], ...]],
) -> None:
    keys, values = case
    payload = ",".join(f"{key.word}={text}" for key, (text, _) in zip(keys, values, strict=True))
    expected = {key.word: value for key, (_, value) in zip(keys, values, strict=True)}
    assert read_query(in_query(payload)).values == expected
    assert read_headers([payload.encode()]).values == expected


def test_the_dynamic_header_is_an_entry_with_parameters() -> None:
    facts = CmsdDynamic(etp=96, mb=5000, rd=3, rtt=8, du=True)
    assert render_dynamic('box "1"\r\n', facts) == b'"box 1";etp=96;mb=5000;rd=3;rtt=8;du'
    assert render_dynamic("box", CmsdDynamic(etp=0)) == b'"box";etp=0'


def test_the_static_header_is_a_dictionary() -> None:
    facts = CmsdStatic(br=2000, d=4000, ot="v", sf="h", st="v", n="OriginProviderA", su=True)
    assert render_static(facts) == b'br=2000,d=4000,n="OriginProviderA",ot=v,sf=h,st=v,su'
    assert render_static(CmsdStatic()) == b""
