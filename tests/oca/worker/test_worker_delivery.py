"""What arrived of what was written, and what is said of a connection's throughput: the pure parts."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from contracts.cmsd import CmsdDynamic, render_dynamic
from oca.worker import tcpinfo
from oca.worker.acknowledged import REMEMBERED, Shortfall, Stream
from oca.worker.suggesting import Estimate, estimate, said
from oca.worker.tcpinfo import TcpInfo


def stream(*answers: tuple[str, int, int]) -> Stream:
    made = Stream()
    for answer in answers:
        made.answered(*answer)
    return made


def test_what_is_missing_belongs_to_the_last_answer() -> None:
    assert stream(("a", 100, 110), ("b", 100, 110)).missing(150) == [Shortfall("b", 70)]


def test_everything_acknowledged_is_no_shortfall() -> None:
    assert stream(("a", 100, 110)).missing(110) == []
    assert stream().missing(0) == []
    assert stream().missing(500) == [], "a client that was answered nothing"


def test_a_shortfall_reaches_back_over_answers_and_headers_are_nobodys() -> None:
    assert stream(("a", 100, 110), ("", 0, 30), ("b", 50, 60)).missing(105) == [Shortfall("b", 50), Shortfall("a", 5)]
    assert stream(("a", 100, 110), ("b", 50, 60)).missing(115) == [Shortfall("b", 50)]


def test_a_window_on_its_way_that_arrived_in_part_is_given_to_the_answer_that_was_cut() -> None:
    assert stream(("a", 100, 110)).missing(150) == [Shortfall("a", -40)]


def test_over_tls_what_lies_in_the_socket_is_missing() -> None:
    assert stream(("a", 100, 110), ("b", 50, 60)).missing_last(70) == [Shortfall("b", 50), Shortfall("a", 10)]
    assert stream(("a", 100, 110)).missing_last(0) == []


answers = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 1000), st.integers(1, 50)).map(
        lambda drawn: (drawn[0], drawn[1], drawn[1] + drawn[2])
    ),
    max_size=REMEMBERED,
)


@given(answers, st.integers(0, 20_000))
def test_what_is_charged_is_what_lies_behind_the_last_acknowledged_byte(
    written: list[tuple[str, int, int]], acknowledged: int
) -> None:
    """Against a stream written out byte by byte."""
    laid_out = [owner for key, body, length in written for owner in [""] * (length - body) + [key] * body]
    acknowledged = min(acknowledged, len(laid_out))
    found: dict[str, int] = {}
    for shortfall in stream(*written).missing(acknowledged):
        found[shortfall.key] = found.get(shortfall.key, 0) + shortfall.missing
    lost = laid_out[acknowledged:]
    assert found == {key: lost.count(key) for key in set(lost) - {""}}


def test_the_kernels_figures_are_read_where_they_lie() -> None:
    info = bytearray(tcpinfo.SIZE)
    info[7] = 1
    struct.pack_into("=I", info, 68, 25_000)
    struct.pack_into("=Q", info, 120, 1 << 40)
    struct.pack_into("=Q", info, 160, 1_250_000)
    assert tcpinfo.read(bytes(info)) == TcpInfo(1 << 40, 25_000, 1_250_000, True)
    assert tcpinfo.read(bytes(info[:130])) == TcpInfo(1 << 40, 25_000, 0, True)
    assert tcpinfo.read(b"") == TcpInfo(0, 0, 0, False)


def test_the_kernel_counts_what_the_other_side_has_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            server.sendall(b"x" * 1000)
            assert len(client.recv(1000, socket.MSG_WAITALL)) == 1000
            client.sendall(b"y")
            server.recv(1)  # its segment acknowledges ours
            found = tcpinfo.read(server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, tcpinfo.SIZE))
            assert found.bytes_acked == 1000
            assert found.rtt_us > 0


MBIT = 125_000


def test_a_rate_at_the_paths_limit_is_said_with_a_suggestion() -> None:
    known = estimate(Estimate(), TcpInfo(0, 20_400, 10 * MBIT, False))
    assert said(known, 3) == CmsdDynamic(etp=10_000, mb=9_000, rd=3, rtt=20)
    assert render_dynamic("box", said(known, 3)) == b'"box";etp=10000;mb=9000;rd=3;rtt=20'


def test_a_rate_that_the_player_limited_lowers_nothing_and_suggests_nothing() -> None:
    low = estimate(Estimate(), TcpInfo(0, 20_000, 2 * MBIT, True))
    assert said(low, 0) == CmsdDynamic(etp=2_000, rd=0, rtt=20)
    high = estimate(low, TcpInfo(0, 20_000, 40 * MBIT, False))
    again = estimate(high, TcpInfo(0, 21_000, 1 * MBIT, True))
    assert said(again, 0) == CmsdDynamic(etp=40_000, mb=36_000, rd=0, rtt=21)


def test_measurements_at_the_limit_are_smoothed() -> None:
    known = estimate(Estimate(10.0 * MBIT, 1, False), TcpInfo(0, 20_000, 20 * MBIT, False))
    assert said(known, 0).etp == 15_000


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert said(Estimate(), 0, under_duress=True) == CmsdDynamic(rd=0, du=True)
