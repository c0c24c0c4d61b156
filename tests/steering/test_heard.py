"""What players say when they ask: as the three vendored players write it, and as nobody should."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.heard import MOST_BPS, Heard, Ignored, heard


def of(query: str) -> Heard:
    return heard(parse_qsl(query, keep_blank_values=True))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("_HLS_pathway=pathway-1&_HLS_throughput=4200000", Heard("pathway-1", 4_200_000.0)),
        ("_DASH_pathway=a2&_DASH_throughput=812000", Heard("a2", 812_000.0, is_dash=True)),
        ("_DASH_pathway=%22pathway-1%2Ca2%22&_DASH_throughput=5000000%2C812000", Heard("a2", 812_000.0, is_dash=True)),
        ("_DASH_pathway=%22pathway-1%22&_DASH_throughput=", Heard("pathway-1", 0.0, is_dash=True)),
        ("s=x&d=dash", Heard(is_dash=True)),
        ("s=x&d=dash&_DASH_pathway=a2", Heard("a2", is_dash=True)),
        ("s=x&d=dash&_HLS_pathway=a2", Heard("a2")),
        ("s=x&d=dash&d=hls", Heard(is_dash=True)),
        ("s=x&d=hls", Heard()),
        ("s=x&CMCD=bl%3D100", Heard()),
        ("", Heard()),
        ("_HLS_throughput=500.25", Heard("", 500.25)),
    ],
)
def test_a_player_s_words_are_understood(query: str, said: Heard) -> None:
    assert of(query) == said


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ("_HLS_throughput=-1", Ignored.THROUGHPUT),
        ("_HLS_throughput=nan", Ignored.THROUGHPUT),
        ("_HLS_throughput=1e9", Ignored.THROUGHPUT),
        ("_HLS_throughput=999999999999999", Ignored.THROUGHPUT),
        ("_HLS_throughput=%D9%A3", Ignored.THROUGHPUT),
        ("_HLS_pathway=%00", Ignored.PATHWAY),
        ("_HLS_pathway=" + "x" * 65, Ignored.PATHWAY),
        ("_HLS_pathway=" + "x" * 600, Ignored.LONG),
        ("_HLS_pathway=a&_HLS_pathway=b", Ignored.TWICE),
        ("_HLS_pathway=a&_DASH_pathway=b", Ignored.TWICE),
    ],
)
def test_garbage_is_left_out_and_said_to_be(query: str, ignored: Ignored) -> None:
    found = of(query)
    assert ignored in found.ignored
    assert found.throughput_bps == 0.0


@given(st.lists(st.tuples(st.sampled_from(("_HLS_pathway", "_DASH_throughput", "_HLS_throughput", "s")), st.text())))
def test_nothing_that_is_said_does_harm(query: list[tuple[str, str]]) -> None:
    found = heard(query)
    assert 0.0 <= found.throughput_bps <= MOST_BPS
    assert len(found.pathway) <= 64
