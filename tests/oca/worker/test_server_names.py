"""The name in a hello, read from bytes of any shape, and the certificate that speaks for it."""

from __future__ import annotations

import contextlib
import itertools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.worker.server_names import Hello, NameTable, server_name


def hello(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What the standard library's client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


REAL = hello("Edge-1.Play.Example")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_in_a_real_hello_is_found(version: ssl.TLSVersion) -> None:
    assert server_name(hello("Edge-1.Play.Example", version)) == "edge-1.play.example"
    assert server_name(hello(None, version)) is Hello.NAMELESS


def test_a_hello_that_has_not_all_come_is_incomplete_at_every_length() -> None:
    assert {server_name(REAL[:length]) for length in range(len(REAL))} == {Hello.INCOMPLETE}
    assert server_name(REAL + b"more") == "edge-1.play.example"


@given(st.lists(st.integers(1, len(REAL) - 6), max_size=6))
def test_a_hello_may_be_spread_over_records(cuts: list[int]) -> None:
    body, edges = REAL[5:], sorted({0, *cuts, len(REAL) - 5})
    records = b""
    for start, end in itertools.pairwise(edges):
        records += b"\x16\x03\x01" + (end - start).to_bytes(2, "big") + body[start:end]
    assert server_name(records) == "edge-1.play.example"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    server_name(data)
    server_name(b"\x16\x03\x01" + data)


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255), st.integers(0, len(REAL)))
def test_a_damaged_hello_is_read_without_an_error(at: int, value: int, length: int) -> None:
    found = server_name((REAL[:at] + bytes([value]) + REAL[at + 1 :])[:length])
    assert isinstance(found, str | Hello)


def test_what_is_no_hello_has_no_name() -> None:
    for data in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x15\x03"):
        assert server_name(data) is Hello.NAMELESS
    too_long = b"\x16\x03\x01\x40\x00\x01\x01\x00\x00" + bytes(100)
    assert server_name(too_long) is Hello.NAMELESS


TABLE = NameTable([("first.example",), ("*.play.example", "play.example"), ("Edge.play.example.",), ("*.example",)])


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("first.example", 0),
        ("a.play.example", 1),
        ("play.example", 1),
        ("edge.play.example", 2),
        ("a.b.play.example", 0),
        ("other.example", 3),
        ("example", 0),
        ("nobody.test", 0),
        (Hello.NAMELESS, 0),
    ],
)
def test_the_exact_name_comes_first_and_a_star_is_one_label(name: str | Hello, number: int) -> None:
    assert TABLE.find(name) == number
