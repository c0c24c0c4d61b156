from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.chromium import Tab, open_tab
from tests.system.small_system import SmallSystem, open_small_system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmallSystem]:
    """One filled system for all browser tests; whoever kills something in it brings it back."""
    async with open_small_system(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A browser that has never been here."""
    async with open_tab(tmp_path / "browser", size=(1360, 900)) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured (`record_property`) is said at the end, also when all passed."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
