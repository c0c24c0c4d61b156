"""How the fill benchmark reads its counters."""

from __future__ import annotations

import pytest

from benchmarks.plan.wires import Samples


def test_the_most_over_a_span_is_found_wherever_it_begins() -> None:
    samples = Samples([(0.0, 0), (5.0, 10), (10.0, 20), (14.0, 120), (19.0, 130), (24.0, 140)])
    assert samples.most_over(10.0) == 110, "the burst with the ten before it, or after it"
    assert samples.most_over(5.0) == 100
    assert samples.between(5.0, 19.0) == (120, 14.0)


def test_what_was_not_watched_long_enough_says_nothing() -> None:
    with pytest.raises(ValueError, match="10 s"):
        Samples([(0.0, 0), (9.0, 10)]).most_over(10.0)
