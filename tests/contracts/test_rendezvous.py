"""The laws of weighted rendezvous hashing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contracts.rendezvous import ranked, score

BOXES = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0.1, 100.0), min_size=1, max_size=8)


@given(st.text(max_size=20), BOXES)
def test_every_box_is_ranked_once_whatever_order_they_are_given_in(name: str, boxes: dict[str, float]) -> None:
    forwards = ranked(name, boxes.items())
    assert sorted(forwards) == sorted(boxes)
    assert forwards == ranked(name, reversed(list(boxes.items())))


@given(st.text(max_size=20), BOXES, st.data())
def test_when_a_box_leaves_the_others_keep_their_order(name: str, boxes: dict[str, float], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(boxes)))
    left = [box for box in ranked(name, boxes.items()) if box != gone]
    assert left == ranked(name, ((box, weight) for box, weight in boxes.items() if box != gone))


def test_a_box_is_first_for_its_share_of_the_weights() -> None:
    first = Counter(ranked(f"title-{n}", [("a", 1.0), ("b", 3.0)])[0] for n in range(4000))
    assert 0.22 < first["a"] / 4000 < 0.28


def test_a_box_without_weight_is_last() -> None:
    assert ranked("x", [("a", 0.0), ("b", 0.001)]) == ["b", "a"]
    assert score("x", "a", 0.0) == 0.0
