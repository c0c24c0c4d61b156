"""The one running system of these tests: up once, and gone without a trace after the last test of the folder (which is a package for that)."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.system.processes import MARK, left_behind
from tests.system.town import SETTINGS, Town, open_town, tracebacks

UP_WITHIN_S = 60.0
"""About 15 s on two idle cores."""


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    settings = {MARK: str(folder), **SETTINGS}
    os.environ.update(settings)
    try:
        began = time.monotonic()
        async with open_town(folder) as town:
            assert time.monotonic() - began < UP_WITHIN_S
            yield town
    finally:
        for name in settings:
            del os.environ[name]
    assert left_behind(str(folder)) == {}
    assert tracebacks(folder / "state" / "logs") == []
