"""The table of docs/serving.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_clause_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    table = page.partition("## HTTP, clause by clause")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "| clause |" not in line]
    assert len(rows) > 30
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "oca").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, set(named) - there
