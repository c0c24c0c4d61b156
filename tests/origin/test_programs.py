"""Child processes: read while they run, ended with whoever started them."""

from __future__ import annotations

from pathlib import Path

import pytest

from origin.errors import StageFailed
from origin.programs import Programs

SHELL = Programs("/bin/sh", "/bin/sh", "/bin/sh")


async def test_a_child_that_tells_how_far_it_is_and_falls_silent_is_ended(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "echo $$ > pid; echo progress=1; exec sleep 60"
    with pytest.raises(StageFailed, match=r"^sh said nothing for 0\.2 s and was ended$"):
        await SHELL.run("/bin/sh", ("-c", script), tmp_path, on_line=lines.append, silent_s=0.2)
    assert lines == ["progress=1\n"]
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_what_a_child_says_and_how_it_ended_is_told(tmp_path: Path) -> None:
    ended = await SHELL.run("/bin/sh", ("-c", "echo out; echo first >&2; echo last >&2; exit 3"), tmp_path)
    assert (ended.code, ended.output, ended.last_complaint) == (3, b"out\n", "last")
    assert not ended.is_our_fault
