"""ExaBGP's helper as a process: it passes lines on, and a keeper that goes takes ExaBGP along."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 30.0


@contextmanager
def helper(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "oca.routes.forward", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def keeper(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        yield listener


def test_what_exabgp_says_is_passed_on_until_it_ends(tmp_path: Path) -> None:
    with keeper(tmp_path / "s") as listener, helper(tmp_path / "s") as process:
        line, _ = listener.accept()
        with line:
            assert process.stdin is not None
            process.stdin.write(b"one\ntwo\n")
            process.stdin.close()
            assert line.makefile("rb").read() == b"one\ntwo\n"
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_a_keeper_that_goes_while_exabgp_is_silent_ends_exabgp_so_that_its_tables_are_told_again(
    tmp_path: Path,
) -> None:
    with keeper(tmp_path / "s") as listener, helper(tmp_path / "s") as process:
        line, _ = listener.accept()
        line.close()
        assert process.wait(PATIENCE_S) == 1
        assert process.stdout is not None
        assert process.stdout.read() == b"shutdown\n"


def test_a_keeper_that_is_not_there_ends_exabgp_too(tmp_path: Path) -> None:
    with helper(tmp_path / "nobody") as process:
        said, complained = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, said) == (1, b"shutdown\n")
        assert b"nobody" in complained
