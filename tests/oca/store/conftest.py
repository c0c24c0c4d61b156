"""Fixtures of the store's tests. Others: `from tests.oca.store.harness import StoreLab, make_file`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oca.store.harness import StoreLab


@pytest.fixture
def lab(tmp_path: Path) -> StoreLab:
    """One disk of 8 MiB with extents of 1 MiB (four blocks), a quarter of it cache, LRU, a board for two workers."""
    return StoreLab(tmp_path)
