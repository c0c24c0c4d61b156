"""A property tries the same examples in every run, whatever else the run does: what failed once fails again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import RANDOM

CONSTANTS = ", ".join(f"{number}.{number:04d}" for number in range(1_000, 1_400))


def tried() -> list[float]:
    seen: list[float] = []

    @settings(max_examples=200)
    @given(st.floats(0, 1e6))
    def look(value: float) -> None:
        seen.append(value)

    look()
    return seen


@pytest.mark.skipif(RANDOM, reason="new examples are wanted")
def test_what_a_property_tries_does_not_depend_on_what_was_imported_before(tmp_path: Path) -> None:
    before = tried()
    file = tmp_path / "room.py"
    file.write_text(f"SIZES = ({CONSTANTS})\n")
    spec = importlib.util.spec_from_file_location("a_room_of_constants", file)
    assert spec is not None
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        assert tried() == before
    finally:
        del sys.modules[spec.name]
