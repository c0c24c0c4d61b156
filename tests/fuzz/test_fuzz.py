"""The fuzzer in small: the same inputs every time, everything that was ever found, and proof that it finds what is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.tokens.claims import TokenRefused
from contracts.tokens.media import verify
from tests.contracts.forging import CLAIMS
from tests.fuzz.known import KEYS, TOKENS
from tests.fuzz.running import CRASHERS, Progress, crashers, run
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 1_200
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=/~%"


def inputs(most: int) -> tuple[Callable[[], bool], Progress]:
    progress = Progress()
    return (lambda: progress.tried < most), progress


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_law_is_broken_by(target: Target) -> None:
    goes_on, progress = inputs(INPUTS)
    assert run(target, 1, goes_on, progress) is None
    assert progress.tried == INPUTS
    assert progress.signs > 3, "the inputs reach more than one corner"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_once_broke_a_law_does_so_no_more(target: Target) -> None:
    for file in crashers(target):
        target.check(file.read_bytes())


def test_every_kept_input_belongs_to_a_target() -> None:
    names = {target.name for target in TARGETS}
    assert [file.name for file in CRASHERS.glob("*/*.bin") if file.parent.name not in names] == []


@pytest.mark.parametrize("token", TOKENS, ids=["jwt-ec", "cat-ec", "jwt-ed", "cat-ed"])
def test_no_other_character_anywhere_changes_what_a_token_says(token: str) -> None:
    assert verify(token, KEYS) == CLAIMS
    opened = []
    for at, true in enumerate(token):
        for other in ALPHABET[at % 7 :: 7]:
            if other != true:
                try:
                    opened.append(verify(token[:at] + other + token[at + 1 :], KEYS))
                except TokenRefused:
                    continue
    assert opened == [], "every bit of a token is signed or fixed"


def test_a_planted_fault_is_found_and_made_small() -> None:
    def check(data: bytes) -> int:
        assert b"CMCD=" not in data or b"\n" not in data, "a planted fault"
        return len(data) % 7

    target = replace(next(target for target in TARGETS if target.name == "cmcd"), check=check)
    goes_on, _ = inputs(1_000_000)
    finding = run(target, 1, goes_on)
    assert finding is not None
    assert len(finding.data) == len(b"CMCD=\n")
    assert "a planted fault" in finding.error


def test_the_same_seed_tries_the_same_inputs() -> None:
    def tried(seed: int) -> list[bytes]:
        seen: list[bytes] = []
        goes_on, progress = inputs(300)
        run(replace(TARGETS[0], check=lambda data: seen.append(data)), seed, goes_on, progress)
        return seen

    assert tried(1) == tried(1)
    assert tried(1) != tried(2)


def test_the_command_runs_for_its_time_and_says_what_it_tried() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "0.2", "--seed", "3", "range"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("range        seed 3: ")
