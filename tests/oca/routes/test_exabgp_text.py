"""ExaBGP's events, as version 5.0.15 writes them, and its configuration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.routes import Route
from oca.config import BgpSession, Routes
from oca.routes import exabgp
from oca.routes.exabgp import Events
from oca.routes.table import Heard, RoutesUnreadable

SESSION = BgpSession("r1", "127.0.0.2", 64500, "127.0.0.3", 2, "s3cret", peer_port=1790, local_port=1791)
PATH = {"0": {"element": "as-sequence", "value": [64500, 64999]}}


def event(kind: str, peer: str = "127.0.0.2", **more: object) -> bytes:
    neighbor = {"address": {"local": "127.0.0.3", "peer": peer}, "asn": {"local": 64600, "peer": 64500}, **more}
    return json.dumps({"exabgp": "5.0.0", "time": 1.5, "counter": 1, "type": kind, "neighbor": neighbor}).encode()


def update(direction: str = "receive", peer: str = "127.0.0.2", **message: object) -> bytes:
    return event("update", peer, direction=direction, message={"update": message})


def announce(*cidrs: str, path: object = PATH, family: str = "ipv4 unicast", **attribute: object) -> bytes:
    announced = {family: {"127.0.0.2": [{"nlri": cidr} for cidr in cidrs]}}
    return update(attribute={"origin": "igp", "as-path": path, **attribute}, announce=announced)


def after(*lines: bytes) -> Heard:
    events = Events((SESSION,))
    for line in lines:
        events.take(line)
    (heard,) = events.heard()
    return heard


UP = event("state", state="up")


def test_what_is_announced_and_withdrawn_is_heard() -> None:
    heard = after(UP, announce("81.2.0.0/16", "81.3.0.0/16", med=7))
    assert (heard.up, heard.peer_as) == (True, 64500)
    assert heard.routes["81.2.0.0/16"] == Route("81.2.0.0/16", (64500, 64999), 7, "127.0.0.2")
    gone = update(withdraw={"ipv4 unicast": [{"nlri": "81.2.0.0/16"}, {"nlri": "9.9.0.0/16"}]})
    assert set(after(UP, announce("81.2.0.0/16", "81.3.0.0/16"), gone).routes) == {"81.3.0.0/16"}


def ends(afi: str) -> bytes:
    return event("update", direction="receive", message={"eor": {"afi": afi, "safi": "unicast"}})


def test_a_table_is_settled_when_the_ends_of_both_families_were_told() -> None:
    assert not after(UP, announce("81.2.0.0/16")).settled
    assert not after(UP, announce("81.2.0.0/16"), ends("ipv4")).settled, "the other family's half would be withdrawn"
    assert after(UP, announce("81.2.0.0/16"), ends("ipv4"), ends("ipv6")).settled
    assert not after(UP, ends("ipv4"), ends("ipv6"), event("state", state="down", reason="peer reset"), UP).settled


def test_a_session_that_goes_down_knows_nothing_any_more_and_why() -> None:
    heard = after(UP, announce("81.2.0.0/16"), event("state", state="down", reason="hold timer expired"))
    assert (heard.up, dict(heard.routes), heard.detail) == (False, {}, "hold timer expired")


def test_paths_of_version_4_sets_and_confederations_are_understood() -> None:
    confederated = {
        "0": {"element": "as-confed-sequence", "value": [65001]},
        "1": {"element": "as-sequence", "value": [1]},
    }
    aggregated = {"0": {"element": "as-sequence", "value": [1, 2]}, "1": {"element": "as-set", "value": [3, 4]}}
    for said, path in (
        ([1, 2], (1, 2)),
        ([1, [2, 3]], (1, 0)),
        (confederated, (1,)),
        (aggregated, (1, 2, 0)),
        ([], ()),
    ):
        assert after(UP, announce("81.2.0.0/16", path=said)).routes["81.2.0.0/16"].as_path == path


def test_other_families_neighbours_and_what_we_send_change_nothing() -> None:
    others = (
        announce("81.2.0.0/16", family="ipv4 multicast"),
        update("send", attribute={}, announce={"ipv4 unicast": {"x": [{"nlri": "81.2.0.0/16"}]}}),
        event("state", peer="127.0.0.9", state="down"),
        b'{"type": "notification"}',
    )
    heard = after(UP, *others)
    assert (heard.up, dict(heard.routes)) == (True, {})


@pytest.mark.parametrize(
    "line", [b"", b"shutdown", b"{", b"[]", b'{"type": 1}', b"\xff", b'{"type": "state", "neighbor": 3}']
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(RoutesUnreadable):
        after(line)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_events_are_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(announce("81.2.0.0/16", med=7))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        heard = after(UP, bytes(raw))
    except RoutesUnreadable:
        return
    assert heard.name == "r1"


def test_the_configuration_holds_every_session_and_the_helper() -> None:
    text = exabgp.configuration(Routes("exabgp", 64600, "192.0.2.9", (SESSION,)), "python -m oca.routes.forward /s")
    for part in (
        "run python -m oca.routes.forward /s;", "neighbor 127.0.0.2 {", "local-as 64600;", "peer-as 64500;",
        'md5-password "s3cret";', "listen 1791;", "connect 1790;", "router-id 192.0.2.9;",
    ):  # fmt: skip
        assert part in text, part
    assert text.count("{") == text.count("}")
