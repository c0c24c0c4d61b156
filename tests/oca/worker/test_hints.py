"""Prefetch hints: what of them is followed, and what is only counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES
from contracts.tokens.claims import MediaClaims
from contracts.urls import parse_media_path
from oca.http.reasons import HintFate
from oca.worker.hints import MAX_BLOCKS, Ahead, Hints, Object

CLAIMS = MediaClaims("test", "session-1", "/media/t1/", ("base", "hd"), 2e9, 1e9)
PATH = "/media/t1/hd/v1.mp4"
SIZE = 100 * BLOCK_BYTES + 17


@dataclass
class FakeShelf:
    files: dict[str, Object] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def known(self, key: str, near: int) -> Object | None:
        return self.files.get(key)

    def holds(self, key: str, found: Object, first: int, last: int) -> bool:
        self.asked.append((key, first, last))
        return key in self.held


def query(payload: str) -> bytes:
    return b"CMCD=" + quote(payload, safe="").encode()


def look(hints: Hints, payload: str, now: float = 0.0, session: str = "session-1") -> object:
    claims = MediaClaims("test", session, "/media/t1/", ("base", "hd"), 2e9, 1e9)
    return hints.look(PATH, claims, query(payload), now)


def key_of(path: str) -> str:
    name = parse_media_path(path)
    assert name is not None
    return name.key


def test_another_range_of_the_same_object_is_fetched_ahead() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    found = look(Hints(ours, 10), f'bl=9000,nrr="{BLOCK_BYTES * 3 + 5}-{BLOCK_BYTES * 5}"')
    assert found == Ahead(key_of(PATH), b"v", 3, 5)


def test_another_object_in_the_same_folder_is_fetched_ahead_with_its_range() -> None:
    ours = FakeShelf({key_of("/media/t1/hd/v2.mp4"): Object(b"w", SIZE)})
    found = look(Hints(ours, 10), 'nor="v2.mp4",nrr="0-1000",ot=v')
    assert found == Ahead(key_of("/media/t1/hd/v2.mp4"), b"w", 0, 0)


def test_the_same_is_said_in_headers_and_in_lists() -> None:
    ours = FakeShelf({key_of("/media/t1/hd/v2.mp4"): Object(b"w", SIZE)})
    wanted = Ahead(key_of("/media/t1/hd/v2.mp4"), b"w", 1, 1)
    span = f"{BLOCK_BYTES}-{BLOCK_BYTES + 9}"
    assert Hints(ours, 10).look(PATH, CLAIMS, f'nor="v2.mp4",nrr="{span}"'.encode(), 0.0) == wanted
    assert look(Hints(ours, 10), f'nor=("v2.mp4";r="{span}")') == wanted


def test_what_is_asked_ahead_is_bounded() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    found = look(Hints(ours, 10), 'nrr="0-"')
    assert found == Ahead(key_of(PATH), b"v", 0, MAX_BLOCKS - 1)


@pytest.mark.parametrize(
    "path",
    [
        "../hd/v2.mp4",
        "..%2Fhd%2Fv2.mp4",
        "%2e%2e/hd/v2.mp4",
        "./v2.mp4",
        "/media/t2/hd/v2.mp4",
        "/media/t1/hd/v2.mp4",
        "//elsewhere.example/v2.mp4",
        "https://elsewhere.example/media/t1/hd/v2.mp4",
        "v2.mp4?x=1",
        "v2.mp4#x",
        "~token/media/t1/hd/v2.mp4",
        "a/b/c.mp4",
        "V2.MP4",
        "v2.mp4\x00",
    ],
)
def test_what_does_not_lie_plainly_below_the_token_is_outside(path: str) -> None:
    ours = FakeShelf({key_of(f"/media/{title}/hd/v2.mp4"): Object(b"w", SIZE) for title in ("t1", "t2")})
    assert look(Hints(ours, 10), f'nor="{path}"') is HintFate.OUTSIDE
    assert look(Hints(ours, 10), f'nor="{quote(path, safe="")}"') is HintFate.OUTSIDE


def test_a_tier_that_the_token_does_not_open_is_outside() -> None:
    ours = FakeShelf({key_of("/media/t1/uhd/v2.mp4"): Object(b"w", SIZE)})
    found = Hints(ours, 10).look("/media/t1/uhd/v1.mp4", CLAIMS, query('nor="v2.mp4"'), 0.0)
    assert found is HintFate.OUTSIDE


def test_an_object_of_which_nothing_is_here_is_unknown() -> None:
    assert look(Hints(FakeShelf(), 10), 'nor="v9.mp4"') is HintFate.UNKNOWN


def test_what_is_here_is_not_asked_for() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)}, held={key_of(PATH)})
    assert look(Hints(ours, 10), 'nrr="0-99"') is HintFate.HELD
    assert ours.asked == [(key_of(PATH), 0, 99)]


@pytest.mark.parametrize("span", ["-500", "abc", "9-5", f"{SIZE}-{SIZE + 5}", "1-2,5-6"])
def test_a_range_that_is_none_of_the_object_is_malformed(span: str) -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    assert look(Hints(ours, 10), f'nrr="{span}"') is HintFate.MALFORMED


def test_a_session_is_looked_at_once_a_second() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    hints = Hints(ours, 10)
    assert isinstance(look(hints, 'nrr="0-99"', 5.0), Ahead)
    assert look(hints, 'nrr="0-99"', 5.9) is None
    assert isinstance(look(hints, 'nrr="0-99"', 5.95, "session-2"), Ahead)
    assert isinstance(look(hints, 'nrr="0-99"', 6.0), Ahead)


def test_a_worker_looks_at_so_many_a_second() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    hints = Hints(ours, 2)
    found = [look(hints, 'nrr="0-99"', 5.0, f"s{number}") for number in range(4)]
    assert found[2:] == [HintFate.TOO_OFTEN, HintFate.TOO_OFTEN]
    assert isinstance(look(hints, 'nrr="0-99"', 6.0, "s9"), Ahead)


def test_requests_without_a_hint_take_no_turn() -> None:
    ours = FakeShelf({key_of(PATH): Object(b"v", SIZE)})
    hints = Hints(ours, 10)
    assert look(hints, "bl=9000,br=3200,ot=v,rtp=9000", 5.0) is None
    assert isinstance(look(hints, 'nrr="0-99"', 5.1), Ahead)


@given(st.text(max_size=60), st.text(max_size=20))
def test_whatever_a_player_says_nothing_outside_its_token_is_asked_for(path: str, span: str) -> None:
    files = {
        key_of(f"/media/{title}/{tier}/v2.mp4"): Object(b"w", SIZE) for title in ("t1", "t2") for tier in ("hd", "uhd")
    }
    found = look(Hints(FakeShelf(files), 10), f'nor="{quote(path, safe="")}",nrr="{span}"')
    assert not isinstance(found, Ahead) or found.key == key_of("/media/t1/hd/v2.mp4")
