"""The stream that every server of a comparison gets."""

from __future__ import annotations

import base64
import hashlib
import random
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks.serve.workload import (
    CLASSES,
    SIZES,
    SLACK_BYTES,
    TOKENS,
    Contents,
    FileClass,
    Zipf,
    asks,
    media_name,
    request_text,
    secure_link_target,
    title_of_session,
    token_target,
    whole_file,
)
from contracts.tokens.claims import MediaClaims
from contracts.urls import parse_media_path, split_token
from oca.http.request import Limits, RequestParser

FEW = FileClass("few", 350, 2048, ("2k",))


def test_the_most_popular_file_is_asked_for_as_often_as_zipf_says() -> None:
    zipf, rng = Zipf(1000, 0.9), random.Random(3)
    drawn = [zipf.draw(rng) for _ in range(40_000)]
    for below in (1, 10, 100):
        assert sum(one < below for one in drawn) / len(drawn) == pytest.approx(zipf.share(below), abs=0.01)
    assert min(drawn) == 0
    assert max(drawn) < 1000


def test_ranks_weigh_by_their_power() -> None:
    zipf = Zipf(3, 1.0)
    assert [zipf.share(n) for n in range(4)] == pytest.approx([0, 6 / 11, 9 / 11, 1])


def test_a_distribution_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Zipf(0, 0.9)


def test_working_sets_are_those_of_the_design() -> None:
    assert {size: group.files for group in CLASSES for size in group.sizes} == {
        "1k": 20_000,
        "16k": 20_000,
        "64k": 20_000,
        "512k": 3_000,
        "2560k": 800,
    }
    assert all(group.working_set_bytes <= 2.5 * (1 << 30) for group in CLASSES)
    assert all(group.range_bytes == max(SIZES[size] for size in group.sizes) for group in CLASSES)
    assert TOKENS >= 5_000
    assert all(TOKENS % group.titles == 0 for group in CLASSES)


def test_every_ask_lies_in_its_file_and_is_allowed_by_its_session() -> None:
    for ask in asks(FEW, 1500, 2000, 1):
        assert ask.first >= 0
        assert ask.first + ask.length <= FEW.file_bytes
        title = media_name(FEW, ask.file).title
        prefix = f"/media/few-{title_of_session(FEW, ask.session)}/"
        claims = MediaClaims("i", "s", prefix, ("hd",), 10.0, 0.0)
        claims.check(media_name(FEW, ask.file).path, 1.0)
        assert title in prefix


def test_a_stream_is_the_same_for_everybody_and_uses_most_sessions() -> None:
    group = CLASSES[0]
    stream = asks(group, 1024, 30_000, 5)
    assert stream == asks(group, 1024, 30_000, 5)
    assert stream != asks(group, 1024, 30_000, 6)
    assert len({ask.session for ask in stream}) >= 5_000
    assert len({ask.cmcd for ask in stream}) > 25_000


def test_ranges_start_anywhere() -> None:
    firsts = {ask.first for ask in asks(FEW, 2048, 3000, 1)}
    assert min(firsts) < 100
    assert max(firsts) > SLACK_BYTES - 100
    assert len({first % 4096 for first in firsts}) > 1000


def test_no_two_files_share_a_page() -> None:
    contents = Contents()
    pages: set[bytes] = set()
    for file in range(40):
        data = contents.of(FEW, file)
        assert len(data) == FEW.file_bytes
        pages |= {data[at : at + 4096] for at in range(0, len(data), 4096)}
    assert len(pages) == 40 * -(-FEW.file_bytes // 4096)
    assert contents.of(FEW, 7) == Contents().of(FEW, 7)


def test_a_file_longer_than_the_base_is_filled_to_its_end() -> None:
    group = FileClass("long", 2, 3 << 20, ())
    data = Contents().of(group, 1)
    assert len(data) == group.file_bytes
    assert data[-3000:] != bytes(3000)


def test_our_target_is_a_token_before_the_path() -> None:
    ask = asks(FEW, 100, 1, 1)[0]
    target = token_target(FEW, [f"token-{number}" for number in range(TOKENS)])(ask)
    token, path = split_token(target.partition("?")[0])
    assert token == f"token-{ask.session}"
    assert parse_media_path(path) == media_name(FEW, ask.file)
    assert target.endswith(ask.cmcd)


def test_the_peers_target_carries_what_secure_link_computes() -> None:
    ask = asks(FEW, 100, 1, 1)[0]
    parts = urlsplit(secure_link_target(FEW, 4_000_000_000)(ask))
    query = parse_qs(parts.query)
    (expires,) = query["expires"]
    digest = hashlib.md5(f"{expires}{parts.path} benchmark".encode(), usedforsecurity=False).digest()
    assert query["md5"] == [base64.urlsafe_b64encode(digest).decode().rstrip("=")]
    assert int(expires) == 4_000_000_000 + ask.session
    assert "CMCD" in query


def test_a_request_is_one_that_our_parser_takes() -> None:
    ask = whole_file(FEW, 3)
    parser = RequestParser(Limits())
    parser.feed(request_text("127.0.0.1:80", secure_link_target(FEW, 1)(ask), ask.range_line))
    (request,) = parser.requests
    assert request.headers[b"range"] == f"bytes=0-{FEW.file_bytes - 1}".encode()
    assert parser.refused is None
