"""Unix sockets in the state folder, whatever the length of its path: an address has room for 108 bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_LONGEST_PATH = 100
"""Longer paths go through the folder's descriptor."""


def listen(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A listening, non-blocking socket that only this user may connect to. Raises OSError.

    What lies at `path` is replaced: the caller knows that nobody lives there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        folder_fd = _open_folder(path)
        try:
            sock.bind(_address(path, folder_fd))
        finally:
            os.close(folder_fd)
        path.chmod(0o600)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def connect(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A connected, blocking socket. Raises OSError when nobody listens."""
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        folder_fd = _open_folder(path)
        try:
            sock.connect(_address(path, folder_fd))
        finally:
            os.close(folder_fd)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_folder(path: Path) -> int:
    return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _address(path: Path, folder_fd: int) -> str:
    plain = str(path)
    return plain if len(plain.encode()) <= _LONGEST_PATH else f"/proc/self/fd/{folder_fd}/{path.name}"
