"""The shelf of a site answers as the sets of its boxes do, whatever changed, and a decision over it as one made from nothing."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.keysets import NO_KEYS, KeySet
from contracts.rendezvous import ranked, ranked_places, salt_of
from contracts.world import Change
from steering.candidates import Rules, Scene
from steering.ranking import rank, rank_in
from steering.shelves import ABREAST, Shelf
from steering.standing import Standing
from steering.world import Held, World, apply
from tests.steering.test_ranking import CLIENTS, random_changes
from tests.steering.worlds import asking, box, holds, key, suspect, well, world

HASHES = range(0, 1 << 64, 1 << 58)
"""Few, so that boxes share them, the smallest and a large one among them."""


def told(held: tuple[Held, ...], hashes: list[int]) -> tuple[int, int]:
    """Asked box by box."""
    holders = planned = 0
    for at, one in enumerate(held):
        if all(map(one.whole.has, hashes)):
            holders |= 1 << at
        elif all(one.whole.has(hashed) or one.planned.has(hashed) for hashed in hashes):
            planned |= 1 << at
    return holders, planned


def some(rng: random.Random) -> KeySet:
    return rng.choice([NO_KEYS, KeySet.of_hashes(rng.sample(HASHES, rng.randint(0, 40)))])


def changed(rng: random.Random, held: Held) -> Held:
    if rng.random() < 0.3:
        return Held(some(rng), some(rng))
    whole = held.whole.changed(rng.sample(HASHES, rng.randint(0, 3)), rng.sample(HASHES, rng.randint(0, 3)))
    return Held(whole, held.planned)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([0, 1, 3, ABREAST, ABREAST + 1, 2 * ABREAST + 5]))
def test_a_shelf_answers_as_its_boxes_would_one_by_one_also_after_changes(seed: int, boxes: int) -> None:
    rng = random.Random(seed)
    held = tuple(Held(some(rng), some(rng)) for _ in range(boxes))
    shelf = Shelf(held)
    for _ in range(4):
        for asked in ([rng.choice(HASHES)], rng.sample(HASHES, 2), [1], [HASHES[0]], [HASHES[-1]]):
            assert shelf.stock(asked) == told(held, asked)
        assert shelf.is_of(held)
        held = tuple(changed(rng, one) if rng.random() < 0.2 else one for one in held)
        if rng.random() < 0.3:
            held = held[1:] if rng.random() < 0.5 else (*held, Held(some(rng), some(rng)))
        shelf = Shelf(held, shelf)


def test_a_file_that_nobody_holds_any_more_is_forgotten() -> None:
    first = Shelf((Held(KeySet.of_hashes([5, 7])), Held(KeySet.of_hashes([7]))))
    then = Shelf((Held(KeySet.of_hashes([9])), first.held[1]), first)
    assert [then.stock([hashed]).holders for hashed in (5, 7, 9)] == [0, 0b10, 0b01]


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=12),
    st.dictionaries(st.text(max_size=4), st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1),
    st.booleans(),
)
def test_places_are_those_of_the_ranking_by_name(name: str, weights: dict[str, float], equal: bool) -> None:
    boxes = [(box_id, 2.0 if equal else weight) for box_id, weight in weights.items()]
    places = ranked_places(name, [salt_of(box_id) for box_id, _ in boxes], [weight for _, weight in boxes])
    assert [boxes[at][0] for at in places] == ranked(name, boxes)


def next_of(rng: random.Random, known: World) -> World:
    """A report, a beat, an appliance that moved or left: what the control plane may say next."""
    if not known.appliances:
        return known
    name = rng.choice(sorted(known.appliances))
    at = rng.choice(sorted(known.sites))
    change = rng.choice(
        [
            well(name, load=rng.random()),
            suspect(name),
            holds(name, key()),
            holds(name, key("other"), planned=(key(),)),
            box(name, at),
            Change(2, appliance_gone=name),
        ]
    )
    return apply(known, change, type(known.prefixes))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), CLIENTS)
def test_a_scene_that_followed_the_changes_ranks_as_one_made_from_nothing(seed: int, client: str) -> None:
    rng = random.Random(seed)
    known = world(random_changes(seed))
    scene = Scene(known, Rules())
    for _ in range(6):
        standings = {
            name: Standing(
                rng.random(), rng.randint(1, 32) / 32, rng.choice([0.1, 1.0]), rng.random() < 0.3, rng.random() < 0.2
            )
            for name in known.appliances
            if rng.random() < 0.9
        }
        scene = scene.next(known, standings)
        for asked in (asking(client, key(), count=4), asking(client, key(), key("other"))):
            assert rank_in(scene, asked) == rank(known, asked, Rules(), standings)
        known = next_of(rng, known)
