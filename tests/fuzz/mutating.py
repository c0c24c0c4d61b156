"""From inputs that are known to inputs that nobody thought of: seeded, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence

LONGEST = 4096
_NUMBERS = (b"0", b"1", b"-1", b"18446744073709551616", b"9" * 40, b"0x10", b"1e9", b"00")


def mutated(data: bytes, words: Sequence[bytes], pool: Sequence[bytes], rng: random.Random) -> bytes:
    """`data` after one to four random changes; `words` are what the grammar is made of, `pool` other inputs to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(_CHANGES)(data, words, pool, rng)[:LONGEST]
    return data


def _flip(data: bytes, _words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return bytes((rng.randrange(256),))
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]


def _replace(data: bytes, _words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]


def _cut(data: bytes, _words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    first, last = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:first] + data[last:]


def _repeat(data: bytes, _words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    first, last = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:last] + data[first:last] * rng.choice((1, 2, 20)) + data[last:]


def _say(data: bytes, words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((*words, *_NUMBERS)) + data[at:]


def _say_instead(data: bytes, words: Sequence[bytes], _pool: Sequence[bytes], rng: random.Random) -> bytes:
    first = rng.randrange(len(data) + 1)
    return data[:first] + rng.choice((*words, *_NUMBERS)) + data[first + rng.randrange(12) :]


def _splice(data: bytes, _words: Sequence[bytes], pool: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(pool)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_CHANGES = (_flip, _replace, _cut, _repeat, _say, _say_instead, _splice)
