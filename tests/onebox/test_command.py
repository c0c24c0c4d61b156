"""`lowtide up` as people meet it when something is in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onebox.claims import Claim
from onebox.processes import StartFailed


def up(state: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "LOWTIDE_UP_BASE_PORT": "0"}
    command = [sys.executable, "-m", "lowtide", "up", "--state", str(state)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)


def test_a_folder_belongs_to_one_running_system(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "state")
    with pytest.raises(StartFailed, match=f"in use by process {os.getpid()}"):
        Claim(tmp_path / "state")
    running = up(tmp_path / "state")
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 1
    assert f"in use by process {os.getpid()}" in " ".join(said.split())
    assert "Traceback" not in said
    assert [entry.name for entry in (tmp_path / "state").iterdir()] == ["lock"]
    claim.release()
    Claim(tmp_path / "state").release()


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    running = up(tmp_path / "file" / "state")
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "cannot be used" in said
    assert "Traceback" not in said


def test_ctrl_c_during_the_start_stops_what_was_started(tmp_path: Path) -> None:
    running = up(tmp_path / "state")
    log = tmp_path / "state" / "logs" / "control-plane.log"
    until = time.monotonic() + 30
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    assert "viewer page" not in said
    assert processes_with(str(tmp_path)) == []


def processes_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found
