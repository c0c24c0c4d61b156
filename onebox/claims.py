"""A folder belongs to one running system: two that write the same databases and disks destroy each other's work."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from onebox.processes import StartFailed


class Claim:
    """An exclusive lock on `FOLDER/lock`, held until `release` or the end of this process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises StartFailed when another process has it, OSError when it cannot be made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "?"
            os.close(self._descriptor)
            raise StartFailed(f"{folder} is in use by process {holder}: stop that one first") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
