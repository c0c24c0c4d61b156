from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.chromium import Tab, open_tab
from tests.browser.player_bed import PlayerBed, open_bed
from tests.browser.scenarios import LONG_FILM, STEERED_OFTEN
from tests.system.small_system import FILMS, SmallSystem, open_small_system


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmallSystem]:
    """One filled system for all browser tests; whoever kills something in it brings it back. Its sessions are steered often."""
    os.environ.update(STEERED_OFTEN)
    try:
        async with open_small_system(tmp_path_factory.mktemp("system"), (*FILMS, LONG_FILM)) as running:
            yield running
    finally:
        for name in STEERED_OFTEN:
            del os.environ[name]


@pytest_asyncio.fixture(loop_scope="session")
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A browser that has never been here."""
    async with open_tab(tmp_path / "browser", size=(1360, 900)) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def bed(tab: Tab) -> AsyncIterator[PlayerBed]:
    async with open_bed(tab) as made:
        yield made
