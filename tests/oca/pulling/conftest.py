"""One appliance for all tests of a module: each has its own paths."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.oca.appliance.world import World
from tests.oca.pulling.web import Web, pulled_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pulled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, Web]]:
    """Started."""
    async with pulled_world(tmp_path_factory.mktemp("pulled")) as (world, web):
        await world.start()
        yield world, web
