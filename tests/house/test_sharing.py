"""Several processes share the tests without sharing what only one of them may have."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.house.source import ROOT
from tests.sharing import ALONE, LONG, SHARED, WHOLE, long_first, piece_of


@dataclass(frozen=True)
class Found:
    nodeid: str


@pytest.mark.parametrize("folder", WHOLE)
def test_tests_of_a_folder_that_shares_something_are_one_piece(folder: str) -> None:
    assert piece_of(f"{folder}test_a.py::test_one[x::y]") == piece_of(f"{folder}test_b.py::test_two") == folder


@pytest.mark.parametrize("folder", SHARED)
def test_the_system_of_a_folder_ends_with_its_tests(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").exists(), "what has the scope of a package ends with it"


@pytest.mark.parametrize("file", ALONE)
def test_a_file_of_such_a_folder_with_a_system_of_its_own_is_a_piece(file: str) -> None:
    assert file.startswith(WHOLE)
    assert piece_of(f"{file}::test_one") == file


def test_other_tests_of_one_file_are_a_piece() -> None:
    assert piece_of("tests/chassis/test_web.py::test_one[a::b]") == "tests/chassis/test_web.py"


def test_what_is_long_comes_first_and_the_others_keep_their_order() -> None:
    short, other = Found("tests/b/test_b.py::test_b"), Found("tests/a/test_a.py::test_a")
    long, longest = (Found(f"{LONG[rank]}::test") for rank in (-1, 0))
    assert long_first([short, long, other, longest]) == [longest, long, short, other]


@pytest.mark.parametrize("place", LONG)
def test_what_is_said_to_be_long_exists(place: str) -> None:
    assert (ROOT / place).exists()
