"""A play's dealings with its steering server: what is asked, when, and what an answer changes."""

from __future__ import annotations

import math
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from player.guidance import DEFAULT_TTL_S
from player.presentation import Address, Dialect, SteeringTag, parse_mpd
from player.steering import PENALTY_S, Answer, Heard, Steering
from tests.player.test_presentation import MPD

URL = "http://steering.example/v1/steering/s-1?state=one"
NAMES = ("pathway-1", "pathway-2", "pathway-3", "origin")
ADDRESSES = tuple(Address(f"http://host-{number}:80/f.mp4", name) for number, name in enumerate(NAMES))


def steering(pathway: str = "pathway-1", dialect: Dialect = Dialect.DASH, now: float = 0.0) -> Steering:
    return Steering(SteeringTag(URL, pathway, dialect), now)


def answer(*priority: str, ttl: float = 60, reload_uri: str = "", clones: tuple[dict[str, object], ...] = ()) -> Answer:
    body = {"VERSION": 1, "TTL": ttl, "RELOAD-URI": reload_uri, "PATHWAY-PRIORITY": priority, "PATHWAY-CLONES": clones}
    return Answer(200, URL, msgspec.json.encode(body))


def clone(name: str, host: str) -> dict[str, object]:
    return {"BASE-ID": "pathway-1", "ID": name, "URI-REPLACEMENT": {"HOST": host}}


def locations(found: tuple[Address, ...]) -> list[str]:
    return [address.location for address in found]


def test_a_manifest_names_its_steering_server_and_where_to_begin() -> None:
    tag = '<ContentSteering defaultServiceLocation="origin" queryBeforeStart="true">/v1/steering/s?x=1&amp;y=2</ContentSteering><Period>'
    found = parse_mpd(MPD.replace("<Period>", tag), "http://steer:1/a/b.mpd").steering
    assert found == SteeringTag("http://steer:1/v1/steering/s?x=1&y=2", "origin", Dialect.DASH, before_start=True)
    assert parse_mpd(MPD).steering is None


@pytest.mark.parametrize("text", ["", "javascript:alert(1)", "/relative/without/a/base"])
def test_a_steering_tag_without_an_address_is_none(text: str) -> None:
    assert parse_mpd(MPD.replace("<Period>", f"<ContentSteering>{text}</ContentSteering><Period>")).steering is None


def test_before_the_first_answer_the_default_pathway_stands_first() -> None:
    assert locations(steering("pathway-2").order(ADDRESSES, 0.0)) == ["pathway-2", "pathway-1", "pathway-3", "origin"]
    assert steering("").order(ADDRESSES, 0.0) == ADDRESSES


def test_an_answer_orders_the_pathways_and_says_when_and_where_to_ask_next() -> None:
    found = steering()
    assert found.due_at == 0.0
    assert found.heard(answer("origin", "pathway-2", ttl=10, reload_uri="s-1?state=two"), 100.0) is Heard.STEERED
    assert locations(found.order(ADDRESSES, 100.0)) == ["origin", "pathway-2", "pathway-1", "pathway-3"]
    assert found.due_at == 110.0
    assert found.question() == "http://steering.example/v1/steering/s-1?state=two"


def test_a_host_clone_is_one_more_pathway_and_stays_known() -> None:
    found = steering()
    found.heard(answer("b1", "pathway-1", clones=(clone("b1", "other"),)), 0.0)
    assert found.order(ADDRESSES, 0.0)[0] == Address("http://other:80/f.mp4", "b1")
    found.heard(answer("b1", "pathway-1", clones=(clone("b1", "changed"),)), 60.0)
    assert found.order(ADDRESSES, 60.0)[0] == Address("http://other:80/f.mp4", "b1")


def test_an_address_that_two_pathways_share_is_tried_once() -> None:
    found = steering()
    found.heard(answer("b1", "pathway-1", clones=(clone("b1", "host-1"),)), 0.0)
    urls = [address.url for address in found.order(ADDRESSES, 0.0)]
    assert urls == [
        "http://host-1:80/f.mp4",
        "http://host-0:80/f.mp4",
        "http://host-2:80/f.mp4",
        "http://host-3:80/f.mp4",
    ]


def test_a_host_that_failed_stands_last_until_its_penalty_is_over() -> None:
    found = steering()
    found.failed(ADDRESSES[0], 100.0)
    assert locations(found.order(ADDRESSES, 100.0 + PENALTY_S - 1))[-1] == "pathway-1"
    assert locations(found.order(ADDRESSES, 100.0 + PENALTY_S))[0] == "pathway-1"
    assert locations(found.preferred(ADDRESSES))[0] == "pathway-1"


def test_a_host_that_failed_for_one_track_stands_last_for_another_one_on_another_pathway() -> None:
    found = steering()
    found.failed(ADDRESSES[0], 100.0)
    sound = (
        Address("http://host-1:80/a.mp4", "pathway-1"),
        Address("http://host-0:80/a.mp4", "pathway-2"),
        ADDRESSES[3],
    )
    assert locations(found.order(sound, 101.0)) == ["pathway-1", "origin", "pathway-2"]


def test_when_all_have_failed_the_wanted_order_is_what_is_left() -> None:
    found = steering()
    for address in ADDRESSES:
        found.failed(address, 0.0)
    assert found.order(ADDRESSES, 1.0) == ADDRESSES


def test_dash_reports_every_pathway_used_since_the_last_question() -> None:
    found = steering()
    assert urlsplit(found.question()).query == "state=one"
    found.served(ADDRESSES[0], 125_000, 1.0)
    found.served(ADDRESSES[3], 250_000, 1.0)
    asked = parse_qs(urlsplit(found.question()).query)
    assert asked == {
        "state": ["one"],
        "_DASH_pathway": ['"pathway-1,origin"'],
        "_DASH_throughput": ["1000000,2000000"],
    }
    assert parse_qs(urlsplit(found.question()).query)["_DASH_pathway"] == ['"origin"']


def test_hls_reports_the_pathway_that_it_is_on() -> None:
    found = steering(dialect=Dialect.HLS)
    found.served(ADDRESSES[0], 125_000, 1.0)
    found.served(ADDRESSES[1], 125_000, 1.0)
    asked = parse_qs(urlsplit(found.question()).query)
    assert (asked["_HLS_pathway"], asked["_HLS_throughput"]) == (["pathway-2"], ["1000000"])


def test_after_410_nobody_is_asked_again_and_the_order_stays() -> None:
    found = steering()
    found.heard(answer("origin", "pathway-1"), 0.0)
    assert found.heard(Answer(410, URL), 60.0) is Heard.GONE
    assert found.due_at == math.inf
    assert locations(found.order(ADDRESSES, 61.0))[0] == "origin"


@pytest.mark.parametrize(("retry_after_s", "due_at"), [(7.0, 107.0), (None, 100.0 + DEFAULT_TTL_S)])
def test_after_429_the_server_says_how_long_to_wait(retry_after_s: float | None, due_at: float) -> None:
    found = steering()
    assert found.heard(Answer(429, URL, retry_after_s=retry_after_s), 100.0) is Heard.TOO_MANY
    assert found.due_at == due_at


@pytest.mark.parametrize(
    ("bad", "heard"),
    [
        (Answer(0, URL), Heard.FAILED),
        (Answer(503, URL), Heard.FAILED),
        (Answer(404, URL), Heard.FAILED),
        (Answer(200, URL, b"<html>"), Heard.UNREADABLE),
        (answer("pathway-2", reload_uri="ftp://elsewhere/"), Heard.UNREADABLE),
        (answer("pathway-2", reload_uri="http://[half"), Heard.UNREADABLE),
    ],
)
def test_a_bad_answer_changes_nothing_but_when_to_ask_again(bad: Answer, heard: Heard) -> None:
    found = steering()
    assert found.heard(bad, 50.0) is heard
    assert found.due_at == 50.0 + DEFAULT_TTL_S
    found.heard(answer("origin", "pathway-1", ttl=20, reload_uri="?state=two"), 100.0)
    before = found.order(ADDRESSES, 120.0), found.question()
    assert found.heard(bad, 120.0) is heard
    assert (found.order(ADDRESSES, 120.0), found.question(), found.due_at) == (*before, 140.0)


@given(
    st.lists(st.sampled_from((*NAMES, "b1", "b2", "nobody")), min_size=1),
    st.lists(st.sampled_from(ADDRESSES)),
    st.floats(0, 200),
)
def test_an_order_names_every_address_once(priority: list[str], failed: list[Address], now: float) -> None:
    found = steering()
    found.heard(answer(*priority, clones=(clone("b1", "host-1"), clone("b2", "host-9"))), 0.0)
    for address in failed:
        found.failed(address, 50.0)
    urls = [address.url for address in found.order(ADDRESSES, now)]
    assert len(urls) == len(set(urls))
    assert set(urls) == {address.url for address in ADDRESSES} | {"http://host-9:80/f.mp4"}
