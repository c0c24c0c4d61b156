"""The keys of sessions on disk: made once, shared, rolled over while steering runs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chassis.clock import SYSTEM_CLOCK
from chassis.errors import ConfigError
from steering.keyring import Keyring
from steering.sessions import Session

SESSION = Session("s-1", 2, "10.1.0.0/24", "a", "http", "http://", "t", (), (), ())


def ring(path: Path) -> Keyring:
    return Keyring(path, SYSTEM_CLOCK)


def test_a_missing_file_is_made_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys"
    made = ring(path).keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert ring(path).keys == made
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    found: list[Keyring] = []
    threads = [threading.Thread(target=lambda: found.append(ring(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.keys for one in found}) == 1
    assert len(found) == 16


def test_a_new_first_key_is_taken_over_and_the_old_one_still_opens(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    it = ring(path)
    before = it.keys.seal(SESSION)
    path.write_text("ab" * 32 + "  # new\n" + path.read_text())
    it.look()
    assert it.keys.open(before) == SESSION
    assert it.keys.seal(SESSION) != before


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no key"), ("# nothing\n", "holds no key"), ("zz" * 32, ":1: is no key"), ("ab" * 31, "is no key")],
)
def test_a_file_that_holds_something_else_is_said_to(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        ring(path)


def test_a_file_that_is_spoilt_while_steering_runs_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    it = ring(path)
    sealed = it.keys.seal(SESSION)
    path.write_text("spoilt")
    it.look()
    assert it.keys.open(sealed) == SESSION
    path.unlink()
    it.look()
    assert it.keys.open(sealed) == SESSION
