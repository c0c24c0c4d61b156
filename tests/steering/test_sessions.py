"""Sessions sealed into an address: what comes back is what went out, and nothing else is taken."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.world import RankFile, Ranking, RankRequest
from steering.ranking import rank
from steering.sessions import (
    FORMAT,
    MOST_CHARS,
    Keys,
    NotSteered,
    Refused,
    Session,
    SessionRefused,
    hostless,
    network_of,
    opened,
    somebody_in,
)
from tests.steering.worlds import asking, key, two_networks, world

NOW = 1_763_000_000.0
KEYS = Keys((b"k" * 32,))
WORLD = world(two_networks())


def play_of(client: str = "10.1.7.9", *files: RankFile, until: float = NOW + 3600, play: str = "s-1") -> RankRequest:
    its = files or (RankFile(key(), "t/v-360"), RankFile(key(file="a-und.mp4"), "t/a-und"))
    return RankRequest(client, its, play=play, until=until, needs_bps=376_500.0)


def session_of(request: RankRequest) -> Session:
    found = opened(request, rank(WORLD, request), NOW)
    assert isinstance(found, Session)
    return found


def refusal(text: str, keys: Keys = KEYS) -> SessionRefused:
    with pytest.raises(SessionRefused) as caught:
        keys.open(text)
    return caught.value


def test_a_session_says_where_each_rendition_s_pathways_lead() -> None:
    request = play_of()
    ranking = rank(WORLD, request)
    session = session_of(request)
    assert session.at(1) == tuple(group.choices[0].appliance_id for group in ranking.groups)
    whole = [set(session.at(number)) for number in range(2, session.pathways + 1)]
    assert all(len(boxes) == 1 for boxes in whole)
    assert set().union(*whole) | set(session.at(1)) == {"a1", "a2", "a3"}
    assert session.at(session.pathways + 1) == ("", "")
    assert (session.site, session.title, session.needs_kbps) == ("a", "t", 376)


def test_a_session_asks_anew_for_what_it_was_opened_with() -> None:
    request = play_of(
        "10.1.7.9", RankFile(key(), "t/v-360"), RankFile(key(file="v.m3u8"), "t/v-360"), RankFile(key(file="x"), "odd")
    )
    again = session_of(request).request(request.client)
    assert (again.files, again.play, again.scheme) == (request.files, request.play, request.scheme)


def test_a_session_keeps_the_client_s_network_and_not_its_address() -> None:
    assert session_of(play_of("10.1.7.9")).client == "10.1.7.0/24"
    assert network_of("2001:db8:1:2::3", "2001:db8::/32") == "2001:db8:1::/48"
    assert network_of("10.1.7.9", "10.1.7.8/30") == "10.1.7.8/30"


def test_sessions_of_one_network_are_spread_over_it_and_each_stays_where_it_is() -> None:
    found = {somebody_in("10.1.7.0/24", f"s-{n}") for n in range(50)}
    assert len(found) > 30
    assert all(address.startswith("10.1.7.") for address in found)
    assert somebody_in("10.1.7.0/24", "s-1") == somebody_in("10.1.7.0/24", "s-1")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://h:8830/", "http://:8830"),
        ("http://h", "http://"),
        ("https://h:443", "https://"),
        ("http://[::1]:80/x/", "http:///x"),
    ],
)
def test_a_clone_keeps_scheme_port_and_path(url: str, kept: str) -> None:
    assert hostless(url) == kept


def test_places_on_different_ports_have_nothing_in_common_that_a_clone_could_keep() -> None:
    request = play_of()
    ranking = rank(WORLD, request)
    first, second = ranking.groups
    moved = replace(second.choices[0], url="http://other.example:8080")
    mixed = replace(ranking, groups=(first, replace(second, choices=(moved, *second.choices[1:]))))
    assert session_of(request).base == "http://"
    found = opened(request, mixed, NOW)
    assert isinstance(found, Session)
    assert found.base == ""


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (play_of(play=""), NotSteered.NO_SESSION),
        (play_of(until=0.0), NotSteered.NO_SESSION),
        (play_of(until=NOW), NotSteered.OVER),
        (play_of(play="../x"), NotSteered.BAD_NAME),
        (play_of(play="x" * 65), NotSteered.BAD_NAME),
        (play_of("10.1.0.1", RankFile("other|/thing", "g")), NotSteered.NOT_MEDIA),
        (play_of("10.1.0.1", RankFile("nothing", "g")), NotSteered.NOT_MEDIA),
        (play_of("10.1.0.1", RankFile(key("t"), "g"), RankFile(key("u"), "h")), NotSteered.NOT_MEDIA),
    ],
)
def test_what_cannot_be_steered_is_told_apart(request_: RankRequest, why: NotSteered) -> None:
    assert opened(request_, rank(WORLD, asking("10.1.0.1")), NOW) is why


def test_what_is_sealed_comes_back_and_fits_an_address() -> None:
    session = session_of(play_of())
    sealed = KEYS.seal(session)
    assert KEYS.open(sealed) == session
    assert len(sealed) < 400
    assert sealed.replace("-", "").replace("_", "").isalnum()


def test_a_title_of_forty_renditions_fits() -> None:
    files = tuple(
        RankFile(key("a-title-with-a-long-name", f"v-{n}.mp4"), f"a-title-with-a-long-name/v-{n}") for n in range(40)
    )
    assert len(KEYS.seal(session_of(play_of("10.1.0.1", *files)))) < MOST_CHARS / 4


def test_an_earlier_key_opens_and_the_first_one_seals() -> None:
    session = session_of(play_of())
    new = Keys((b"n" * 32, *KEYS.keys))
    assert new.open(KEYS.seal(session)) == session
    assert refusal(new.seal(session)).why is Refused.FORGED


@given(st.data())
@settings(max_examples=200)
def test_no_changed_bit_is_taken(data: st.DataObject) -> None:
    sealed = KEYS.seal(session_of(play_of()))
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    changed = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert refusal(changed).why in (Refused.FORGED, Refused.NEWER)


@given(st.text(max_size=200))
def test_any_text_is_refused_with_words(text: str) -> None:
    assert str(refusal(text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", Refused.MISSING),
        ("x" * (MOST_CHARS + 1), Refused.TOO_LONG),
        ("a b", Refused.MALFORMED),
        ("ä", Refused.MALFORMED),
        ("AQID", Refused.MALFORMED),
        (base64.urlsafe_b64encode(bytes((FORMAT + 1,)) + bytes(40)).decode(), Refused.NEWER),
        (base64.urlsafe_b64encode(bytes((FORMAT,)) + bytes(40)).decode(), Refused.FORGED),
    ],
)
def test_each_refusal_has_its_reason(text: str, why: Refused) -> None:
    assert refusal(text).why is why


def test_a_ranking_of_origins_alone_makes_a_session_without_pathways() -> None:
    request = play_of("192.0.2.1")
    nobody = Ranking(1, "", "", tuple(replace(g, choices=g.choices[-1:]) for g in rank(WORLD, request).groups))
    found = opened(request, nobody, NOW)
    assert isinstance(found, Session)
    assert (found.pathways, found.boxes, found.base) == (0, (), "http://")
