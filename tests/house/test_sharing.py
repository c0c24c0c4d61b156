"""Several processes share the tests without sharing what only one of them may have."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.house.source import ROOT
from tests.sharing import LONG, WHOLE, long_first, piece_of


@dataclass(frozen=True)
class Found:
    nodeid: str


@pytest.mark.parametrize("folder", WHOLE)
def test_tests_of_a_folder_with_one_system_are_one_piece_and_take_it_down_behind_them(folder: str) -> None:
    assert piece_of(f"{folder}test_a.py::test_one[x::y]") == piece_of(f"{folder}test_b.py::test_two") == folder
    assert (ROOT / folder / "__init__.py").exists(), "what has the scope of a package ends with it"


def test_other_tests_of_one_file_are_a_piece() -> None:
    assert piece_of("tests/chassis/test_web.py::test_one[a::b]") == "tests/chassis/test_web.py"


def test_what_is_long_comes_first_and_the_others_keep_their_order() -> None:
    short, other = Found("tests/b/test_b.py::test_b"), Found("tests/a/test_a.py::test_a")
    long, longest = (Found(f"{LONG[rank]}::test") for rank in (-1, 0))
    assert long_first([short, long, other, longest]) == [longest, long, short, other]


@pytest.mark.parametrize("place", LONG)
def test_what_is_said_to_be_long_exists(place: str) -> None:
    assert (ROOT / place).exists()
