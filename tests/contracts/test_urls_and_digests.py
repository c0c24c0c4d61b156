"""Addresses have one spelling; digests do not depend on how a file was fed."""

from __future__ import annotations

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES, DigestBuilder, block_count, block_digest, block_length, etag_of
from contracts.enrolment import split_code
from contracts.problems import Problem, ProblemCode
from contracts.urls import MediaName, parse_media_path, split_key, split_token, with_token

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)


@given(NAMES, NAMES, NAMES, st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True))
def test_a_media_path_says_its_name_with_and_without_a_token(title: str, tier: str, file: str, token: str) -> None:
    name = MediaName(title, tier, file)
    assert parse_media_path(name.path) == name
    assert split_token(with_token(token, name.path)) == (token, name.path)
    assert split_token(name.path) == (None, name.path)
    assert split_key(name.key) == ("vod", name.path)


@pytest.mark.parametrize(
    "path",
    ["/media/a/b", "/media/a/b/c/d", "/media/A/b/c", "/media/../b/c", "/media//b/c", "/media/a/b/c\n", "media/a/b/c"],
)
def test_any_other_path_is_no_media(path: str) -> None:
    assert parse_media_path(path) is None


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 3 * BLOCK_BYTES), piece=st.integers(1, BLOCK_BYTES * 2))
def test_digests_are_those_of_the_file_and_its_blocks_however_it_was_fed(size: int, piece: int) -> None:
    data = bytes(i % 251 for i in range(size % 1009)) * (size // max(1, size % 1009)) if size % 1009 else bytes(size)
    builder = DigestBuilder("vod|/media/a/b/c", "video/mp4")
    for first in range(0, len(data), piece):
        builder.update(data[first : first + piece])
    found = builder.finish()
    assert (found.size_bytes, found.blake3) == (len(data), blake3(data).hexdigest())
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.block_count == block_count(len(data))
    for number in range(found.block_count):
        block = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        assert len(block) == block_length(len(data), number)
        assert found.block(number) == block_digest(block)
    with pytest.raises(IndexError):
        found.block(found.block_count)
    assert found.etag == etag_of(found.version)


def test_problems_are_found_again_by_their_type() -> None:
    for code in ProblemCode:
        assert ProblemCode.from_type(Problem.of(code).type) is code
    assert ProblemCode.from_type("about:blank") is None


def test_an_enrolment_code_is_copied_whole_or_refused() -> None:
    assert split_code(" SECRET." + "0" * 32 + "\n") == ("SECRET", "0" * 32)
    for wrong in ("", "SECRET", "SECRET.123", "." + "0" * 32):
        with pytest.raises(ValueError, match="copy it whole"):
            split_code(wrong)
