"""Rows of a home page, purely."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from companions.recommendation.rows import Shape, Tastes, build
from companions.recommendation.similarity import Traits, most_like
from contracts.catalogue import TitleSummary
from contracts.viewing import Position, RowKind, TitleCount


def _title(title_id: str, genres: tuple[str, ...] = (), cast: tuple[str, ...] = ()) -> TitleSummary:
    return TitleSummary(title_id, title_id.upper(), genres, 100.0, cast=cast)


def _position(title_id: str, position_s: float, finished: bool = False) -> Position:
    return Position(title_id, position_s, 100.0, 0.0, finished)


SHELF = (
    _title("a", ("Sea",), ("Ida",)),
    _title("b", ("Sea",)),
    _title("c", ("Sea", "Drama"), ("Ida",)),
    _title("d", ("Drama",)),
    _title("e", ("Western",)),
)


def _ids(rows: object) -> dict[RowKind, list[str]]:
    return {row.kind: [title.id for title in row.titles] for row in rows}  # type: ignore[attr-defined]


def test_a_member_without_history_sees_what_is_popular_and_then_what_is_new() -> None:
    rows = build(Tastes(SHELF, (TitleCount("d", 4.0), TitleCount("a", 1.0)), ()), Shape())
    assert _ids(rows) == {RowKind.POPULAR: ["d", "a"], RowKind.NEW: ["b", "c", "e"]}


def test_at_most_half_of_a_small_shelf_is_popular_and_the_rest_is_new() -> None:
    popular = tuple(TitleCount(title_id, 9.0 - n) for n, title_id in enumerate("edcba"))
    rows = build(Tastes(SHELF, popular, ()), Shape())
    assert _ids(rows) == {RowKind.POPULAR: ["e", "d", "c"], RowKind.NEW: ["a", "b"]}


def test_started_titles_come_first_with_the_share_watched_and_finished_ones_do_not() -> None:
    rows = build(Tastes(SHELF, (), (_position("b", 25.0), _position("e", 99.0, finished=True))), Shape(because_rows=0))
    assert rows[0].kind is RowKind.CONTINUE
    assert [title.id for title in rows[0].titles] == ["b"]
    assert rows[0].positions == {"b": 0.25}


def test_because_you_watched_offers_what_is_alike_and_not_what_is_known() -> None:
    rows = build(Tastes(SHELF, (), (_position("a", 99.0, finished=True),)), Shape())
    assert rows[0].kind is RowKind.BECAUSE
    assert rows[0].heading == "Because you watched A"
    assert [title.id for title in rows[0].titles] == ["c", "b"]


def test_one_title_alike_is_not_worth_a_heading() -> None:
    rows = build(Tastes(SHELF[:2], (), (_position("a", 99.0, finished=True),)), Shape())
    assert RowKind.BECAUSE not in _ids(rows)


def test_a_popular_title_that_the_region_does_not_show_is_left_out() -> None:
    rows = build(Tastes(SHELF[:1], (TitleCount("elsewhere", 9.0),), ()), Shape())
    assert _ids(rows) == {RowKind.NEW: ["a"]}


def test_an_empty_shelf_gives_an_empty_page() -> None:
    assert build(Tastes((), (TitleCount("a", 1.0),), (_position("a", 5.0),)), Shape()) == ()


def test_sharing_a_rare_trait_counts_more_than_sharing_a_common_one() -> None:
    shelf = (
        _title("seed", ("Sea",), ("Ida",)),
        _title("rare", (), ("Ida",)),
        _title("common", ("Sea",)),
        _title("x", ("Sea",)),
    )
    assert most_like(shelf[0], shelf, Traits(shelf))[0].id == "rare"


_IDS = st.sampled_from("abcdefgh")
_TITLES = st.lists(_IDS, unique=True).flatmap(
    lambda ids: st.tuples(
        *(
            st.builds(
                _title,
                st.just(i),
                st.lists(st.sampled_from(["Sea", "Drama", "War"]), unique=True).map(tuple),
                st.lists(st.sampled_from(["Ida", "Bo"]), unique=True).map(tuple),
            )
            for i in ids
        )
    )
)


@given(
    _TITLES,
    st.lists(st.builds(TitleCount, _IDS, st.floats(0, 9))),
    st.lists(st.builds(_position, _IDS, st.floats(0, 100), st.booleans())),
    st.integers(1, 4),
)
def test_whatever_is_known_each_title_is_shown_once_and_no_row_is_empty_or_too_long(
    shelf: tuple[TitleSummary, ...], popular: list[TitleCount], positions: list[Position], width: int
) -> None:
    rows = build(Tastes(shelf, popular, positions), Shape(row_titles=width))
    shown = [title.id for row in rows for title in row.titles]
    assert len(shown) == len(set(shown))
    assert set(shown) <= {title.id for title in shelf}
    assert all(1 <= len(row.titles) <= width for row in rows)
    assert bool(rows) == bool(shelf)
    assert all(set(row.positions) <= {title.id for title in row.titles} for row in rows)


@given(_TITLES)
def test_likeness_is_symmetric_and_between_nothing_and_one(shelf: tuple[TitleSummary, ...]) -> None:
    traits = Traits(shelf)
    for one in shelf:
        for other in shelf:
            likeness = traits.likeness(one, other)
            assert 0.0 <= likeness <= 1.0 + 1e-9
            assert abs(likeness - traits.likeness(other, one)) < 1e-9
