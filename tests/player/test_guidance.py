"""What steering servers answer, as the standard writes it and as it comes when something is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from player.guidance import DEFAULT_TTL_S, BadGuidance, Clone, Guidance, cloned, read, with_clones
from player.presentation import Address, Dialect, SteeringTag
from player.steering import Answer, Heard, Steering

WHOLE = {
    "VERSION": 1,
    "TTL": 60,
    "RELOAD-URI": "/v1/steering/s-1?state=x",
    "PATHWAY-PRIORITY": ["b1", "pathway-1", "origin"],
    "PATHWAY-CLONES": [{"BASE-ID": "pathway-1", "ID": "b1", "URI-REPLACEMENT": {"HOST": "127.2.0.11"}}],
}
BASE = Address("http://127.1.0.11:8443/~t/media/x/sd/v.mp4?a=1", "pathway-1")


def written(**more: Any) -> bytes:
    names = {"ttl": "TTL", "version": "VERSION", "priority": "PATHWAY-PRIORITY", "clones": "PATHWAY-CLONES"}
    return msgspec.json.encode(WHOLE | {names[name]: value for name, value in more.items()})


def test_a_steering_manifest_is_read_as_it_is_written() -> None:
    found = read(msgspec.json.encode(WHOLE | {"X-SOMETHING": 3}))
    assert found == Guidance(
        60.0, "/v1/steering/s-1?state=x", ("b1", "pathway-1", "origin"), (Clone("b1", "pathway-1", "127.2.0.11"),)
    )


def test_what_may_be_missing_has_its_default() -> None:
    found = read(b'{"VERSION": 1, "PATHWAY-PRIORITY": ["a"]}')
    assert found == Guidance(DEFAULT_TTL_S, "", ("a",))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "not a steering manifest"),
        (b"[]", "not a steering manifest"),
        (b'{"PATHWAY-PRIORITY": ["a"]}', "VERSION"),
        (b'{"VERSION": 1, "TTL": 60}', "PATHWAY-PRIORITY"),
        (written(version=2), "version 2"),
        (written(priority=[]), "names no pathway"),
        (written(priority=[""]), "names no pathway"),
        (written(ttl=0), "no time to wait"),
        (written(ttl=-3), "no time to wait"),
        (written(clones=[{"ID": "x"}]), "BASE-ID"),
    ],
)
def test_what_is_no_steering_manifest_is_refused_in_words(body: bytes, why: str) -> None:
    with pytest.raises(BadGuidance, match=why):
        read(body)


def test_a_ttl_below_a_second_is_a_second() -> None:
    assert read(written(ttl=0.01)).ttl_s == 1.0


def test_a_clone_that_replaces_nothing_is_ignored() -> None:
    clone = {"BASE-ID": "pathway-1", "ID": "x", "URI-REPLACEMENT": {}}
    assert read(written(clones=[clone])).clones == ()


def with_host(host: str) -> dict[str, Any]:
    return {"BASE-ID": "pathway-1", "ID": "x", "URI-REPLACEMENT": {"HOST": host}}


@pytest.mark.parametrize(
    "host", ["[", "[::1", "a]b", "h:port", "h:99999", "h:", ":80", "h/path", "h?q", "h#f", "a\tb", "\u2100.example"]
)
def test_a_clone_whose_host_is_none_is_ignored_and_the_others_stay(host: str) -> None:
    good = {"BASE-ID": "pathway-1", "ID": "y", "URI-REPLACEMENT": {"HOST": "h:80"}}
    assert [clone.id for clone in read(written(clones=[with_host(host), good])).clones] == ["y"]


@given(st.text(st.sampled_from("ab.:[]/@%1 \u2100"), max_size=12) | st.text(max_size=12))
def test_addresses_can_be_ordered_whatever_host_a_clone_names(host: str) -> None:
    steering = Steering(SteeringTag("http://s/", "pathway-1", Dialect.HLS), 0.0)
    body = written(clones=[with_host(host)], priority=["x", "pathway-1"])
    assert steering.heard(Answer(200, "http://s/", body), 0.0) is Heard.STEERED
    assert BASE in steering.order((BASE,), 1.0)


@given(st.binary(max_size=200))
def test_no_body_raises_anything_else(body: bytes) -> None:
    try:
        read(body)
    except BadGuidance:
        return


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("http://127.1.0.11:8443/p", "127.2.0.11", "http://127.2.0.11:8443/p"),
        ("http://127.1.0.11:8443/p", "127.2.0.11:9000", "http://127.2.0.11:9000/p"),
        ("https://a.example/p?q=1", "b.example", "https://b.example/p?q=1"),
        ("http://[::1]:8443/p", "[::2]", "http://[::2]:8443/p"),
    ],
)
def test_a_host_takes_the_place_of_a_host_and_the_port_stays(url: str, host: str, expected: str) -> None:
    assert cloned(Address(url, "pathway-1"), Clone("c", "pathway-1", host)) == Address(expected, "c")


def test_parameters_of_a_clone_replace_those_of_the_same_name() -> None:
    found = cloned(BASE, Clone("c", "pathway-1", params=(("a", "2"), ("b", "x y"))))
    assert found.url == "http://127.1.0.11:8443/~t/media/x/sd/v.mp4?a=2&b=x+y"


def test_clones_stand_behind_what_the_manifest_has_and_may_be_cloned_themselves() -> None:
    clones = (Clone("b1", "pathway-1", "127.2.0.11"), Clone("b2", "b1", params=(("z", "1"),)))
    locations = [(found.location, found.url.partition("/~t")[0]) for found in with_clones([BASE], clones)]
    assert locations == [
        ("pathway-1", "http://127.1.0.11:8443"),
        ("b1", "http://127.2.0.11:8443"),
        ("b2", "http://127.2.0.11:8443"),
    ]


def test_clones_of_nothing_and_under_a_name_that_is_taken_are_left_out() -> None:
    clones = (Clone("b1", "pathway-9", "127.2.0.11"), Clone("pathway-1", "pathway-1", "127.3.0.11"))
    assert with_clones([BASE], clones) == (BASE,)
