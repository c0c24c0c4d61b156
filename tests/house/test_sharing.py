"""Several processes share the tests without sharing what only one of them may have."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.house.source import ROOT
from tests.sharing import WHOLE, long_first, piece_of


@dataclass(frozen=True)
class Test:
    __test__ = False
    nodeid: str
    slow: bool = False

    def get_closest_marker(self, name: str) -> object:
        return self if self.slow and name == "slow" else None


@pytest.mark.parametrize("folder", WHOLE)
def test_tests_of_a_folder_with_one_system_are_one_piece_and_take_it_down_behind_them(folder: str) -> None:
    assert piece_of(f"{folder}test_a.py::test_one[x::y]") == piece_of(f"{folder}test_b.py::test_two") == folder
    assert (ROOT / folder / "__init__.py").exists(), "what has the scope of a package ends with it"


def test_other_tests_of_one_file_are_a_piece() -> None:
    assert piece_of("tests/chassis/test_web.py::test_one[a::b]") == "tests/chassis/test_web.py"


def test_files_with_a_long_test_come_first_and_stay_whole() -> None:
    short, long = Test("tests/a/test_a.py::test_short"), Test("tests/b/test_b.py::test_long", slow=True)
    beside, last = Test("tests/b/test_b.py::test_beside"), Test("tests/c/test_c.py::test_last")
    assert long_first([short, beside, long, last]) == [beside, long, short, last]
