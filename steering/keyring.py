"""The keys that seal sessions, in a file that several steering processes may share.

One key a line, 64 hexadecimal digits; the first seals, all open; what follows `#` is ignored. Roll over by putting a new line second everywhere,
then first everywhere, and taking the old one away when the last session that it sealed is over.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from chassis.clock import Clock
from chassis.errors import ConfigError
from chassis.logs import get_logger
from steering.sessions import KEY_BYTES, Keys

FILE_NAME = "session.keys"
LOOK_S = 10.0
_LOG = get_logger("steering.keyring")


class Keyring:
    """The keys of now. Raises ConfigError at construction for a file that holds something else, OSError where it cannot be used."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        if not path.exists():
            _make(path)
        self.keys, self._seen = _read(path)

    async def run(self) -> None:
        """Takes a changed file over within LOOK_S; one that is wrong changes nothing and is logged."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        try:
            if _stamp(self._path) == self._seen:
                return
            self.keys, self._seen = _read(self._path)
        except (ConfigError, OSError) as error:
            _LOG.error(
                "session-keys-unusable", path=str(self._path), detail=str(error), then="the ones before are used on"
            )
        else:
            _LOG.info("session-keys-read", keys=len(self.keys.keys))


def _read(path: Path) -> tuple[Keys, tuple[int, int, int]]:
    seen = _stamp(path)
    found: list[bytes] = []
    problems: list[str] = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if len(text) != 2 * KEY_BYTES or not set(text.lower()) <= set("0123456789abcdef"):
            problems.append(f"{path}:{number}: is no key: {2 * KEY_BYTES} hexadecimal digits are one")
        else:
            found.append(bytes.fromhex(text))
    if not found and not problems:
        problems.append(f"{path}: holds no key; remove it and one is made")
    if problems:
        raise ConfigError(tuple(problems))
    return Keys(tuple(found)), seen


def _make(path: Path) -> None:
    """Of several processes that find no file the first one's stays: it appears whole, and only where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int, int]:
    told = path.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns
