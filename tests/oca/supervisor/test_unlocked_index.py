"""Where the index may not be locked in memory, the box serves all the same and says so everywhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import httpx
import msgspec
import pytest

from oca.cli import index_words
from oca.link.files import Listening
from tests.oca.supervisor.box import FILE, box, settings_of, stock

FORBIDDEN = ("prlimit", "--memlock=0")
"""Root may lock whatever the limit says, unless the capability is taken from it."""
OF_ROOT = ("setpriv", "--bounding-set", "-ipc_lock")


async def test_without_the_right_to_lock_memory_the_box_serves_unlocked_and_says_so(tmp_path: Path) -> None:
    before = (*OF_ROOT, *FORBIDDEN) if os.geteuid() == 0 else FORBIDDEN
    if missing := [name for name in before if not name.startswith("-") and shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} of util-linux is not here")
    settings = settings_of(tmp_path)
    disk = settings.store.disks[0].path
    with box(settings, tmp_path, stock(settings, [FILE]), before) as appliance:
        async with httpx.AsyncClient() as client:
            assert await appliance.get(client, 100, 2_500_000) == FILE.data[100:2_500_001]
            ready = await client.get(f"{appliance.status}/readyz")
        assert ready.status_code == 200
        said = ready.json()["checks"]["index"]
        assert said["ready"]
        assert said["detail"].startswith(f"{disk} is not locked: cannot lock ")
        assert "RLIMIT_MEMLOCK" in said["detail"]
        assert await appliance.metric(f'lowtide_oca_index_locked{{disk="{disk}"}}') == 0.0
        written = Path(settings.state_dir, "run", "listening.json").read_bytes()
        assert msgspec.json.decode(written, type=Listening).index_locked == (False,)
        assert '"index-not-locked"' in appliance.log.read_text()
    assert index_words((True, False)) == "NOT locked in memory: disk 1 (/readyz says why; raise RLIMIT_MEMLOCK)"
    assert index_words((True,)) == "locked in memory"
