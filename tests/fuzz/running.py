"""Running targets: from seeds outwards, keeping what showed something new; what breaks a law is made small before it is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutating import mutated
from tests.fuzz.targets import Target

CRASHERS = Path(__file__).with_name("crashers")
MOST_KEPT = 2_000
MOST_SHRINKING = 2_000


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke a law, as small as it was made, and how."""

    target: str
    data: bytes
    error: str


@dataclass(slots=True)
class Progress:
    tried: int = 0
    signs: int = 0


def run(target: Target, seed: int, goes_on: Callable[[], bool], progress: Progress | None = None) -> Finding | None:
    """The first finding, or None when `goes_on` said no. The same seed and as many rounds try the same inputs."""
    progress = progress or Progress()
    rng = random.Random(f"{target.name}-{seed}")
    pool: list[bytes] = []
    known: set[object] = set()
    for data in _inputs(target, pool, rng):
        progress.tried += 1
        error, sign = _tried(target, data)
        if error is not None:
            return Finding(target.name, shrunk(target, data), error)
        if sign not in known and len(pool) < MOST_KEPT:
            known.add(sign)
            pool.append(data)
            progress.signs = len(known)
        if not goes_on():
            break
    return None


def shrunk(target: Target, data: bytes) -> bytes:
    """A shorter input that still breaks a law: ever smaller pieces are left out."""
    size, tries = len(data) // 2, 0
    while size:
        at = 0
        while at < len(data) and tries < MOST_SHRINKING:
            tries += 1
            shorter = data[:at] + data[at + size :]
            if _tried(target, shorter)[0] is not None:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def crashers(target: Target) -> Iterator[Path]:
    """Inputs that once broke a law."""
    return iter(sorted((CRASHERS / target.name).glob("*.bin")))


def _inputs(target: Target, pool: list[bytes], rng: random.Random) -> Iterator[bytes]:
    yield from target.seeds
    pool[:] = list(dict.fromkeys((*target.seeds, *pool)))
    while True:
        yield mutated(rng.choice(pool), target.words, pool, rng)


def _tried(target: Target, data: bytes) -> tuple[str | None, object]:
    try:
        return None, target.check(data)
    except Exception as error:  # noqa: BLE001  the border of a fuzzer: whatever escapes is the finding
        return f"{type(error).__name__}: {error}", None
