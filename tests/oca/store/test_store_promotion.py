"""What goes to hot disks and what makes way: bounded, fitting, and never to and fro."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.store.moving import MoveReason
from oca.store.promotion import HALF_LIFE_S, LEAST_HEAT, MARGIN, Heat, Resident, choose

HOT, COLD = 9, 0


def cold(extent_id: int, heat: float, size: int = 100) -> Resident:
    return Resident(COLD, extent_id, size, heat, HOT)


def hot(extent_id: int, heat: float, size: int = 100) -> Resident:
    return Resident(HOT, extent_id, size, heat, COLD)


def names(choices: object) -> list[tuple[str, int]]:
    return [(choice.reason.value, choice.extent_id) for choice in choices]  # type: ignore[attr-defined]


def test_the_hottest_goes_first_and_what_is_hardly_used_stays() -> None:
    found = choose([cold(1, 10), cold(2, 50), cold(3, LEAST_HEAT - 1)], [], {HOT: 1000}, 1000)
    assert names(found) == [("promote", 2), ("promote", 1)]


def test_no_more_is_written_than_the_budget_demotions_included() -> None:
    assert names(choose([cold(1, 50), cold(2, 40)], [], {HOT: 1000}, 150)) == [("promote", 1)]
    assert choose([cold(1, 50)], [hot(5, 1)], {HOT: 0}, 150) == []
    assert names(choose([cold(1, 50)], [hot(5, 1)], {HOT: 0}, 200)) == [("demote", 5), ("promote", 1)]


def test_only_what_is_much_colder_makes_way() -> None:
    assert choose([cold(1, 50)], [hot(5, 50 / MARGIN + 1)], {HOT: 0}, 1000) == []
    assert names(choose([cold(1, 50)], [hot(5, 50 / MARGIN), hot(6, 100)], {HOT: 0}, 1000)) == [
        ("demote", 5),
        ("promote", 1),
    ]


def test_heat_is_halved_in_a_half_life_and_forgotten_in_the_end() -> None:
    heat = Heat()
    heat.add([(b"a", 16), (b"b", 1)])
    heat.add([(b"a", 16)])
    assert heat.of(b"a") == 32
    heat.cool(HALF_LIFE_S)
    assert heat.of(b"a") == 16
    assert heat.hottest() == [(b"a", 16.0)]
    heat.cool(10 * HALF_LIFE_S)
    assert len(heat) == 0


residents = st.tuples(st.integers(1, 300), st.floats(0, 100))


@given(
    colds=st.lists(residents, max_size=12),
    hots=st.lists(residents, max_size=12),
    room=st.integers(0, 500),
    budget=st.integers(0, 2000),
)
def test_what_is_chosen_fits_and_is_not_undone_by_the_next_round(
    colds: list[tuple[int, float]], hots: list[tuple[int, float]], room: int, budget: int
) -> None:
    below = [cold(number, heat, size) for number, (size, heat) in enumerate(colds)]
    above = [hot(100 + number, heat, size) for number, (size, heat) in enumerate(hots)]
    known = {(r.disk, r.extent_id): r for r in below + above}
    found = choose(below, above, {HOT: room}, budget)
    assert len({(c.source, c.extent_id) for c in found}) == len(found)
    assert sum(known[c.source, c.extent_id].size for c in found) <= budget
    free = room
    coldest_promoted: float | None = None
    for choice in found:
        one = known[choice.source, choice.extent_id]
        free += one.size if choice.reason is MoveReason.DEMOTE else -one.size
        assert free >= 0, "in the order given, everything finds its room"
        if choice.reason is MoveReason.PROMOTE:
            coldest_promoted = one.per_byte
    moved = {(c.source, c.extent_id) for c in found}
    gone_down = [
        Resident(COLD, r.extent_id, r.size, r.heat, HOT) for key, r in known.items() if key in moved and r.disk == HOT
    ]
    if coldest_promoted is not None:
        assert all(r.per_byte * MARGIN <= max(k.per_byte for k in below) for r in gone_down)
