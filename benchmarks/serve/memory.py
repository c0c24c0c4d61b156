"""Are the bytes of a folder's files in memory? Asked with `mincore`, which is exact for files one owns.

`python -m benchmarks.serve.memory FOLDER` keeps them there (`mlock`) until its standard input ends: some machines drop what seems idle to them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def missing_bytes(folder: Path) -> int:
    """Bytes below a folder that would have to be read from the device."""
    missing = 0
    buffer = ctypes.create_string_buffer(1 << 16)
    for where, _folders, names in os.walk(folder):
        for name in names:
            missing += _missing_of(os.path.join(where, name), buffer)
    return missing


def _missing_of(path: str, buffer: ctypes.Array[ctypes.c_char]) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        pages = -(-size // _PAGE)
        if not pages:
            return 0
        if pages > len(buffer):
            raise ValueError(f"{path} is larger than a file of a working set")
        at = _libc.mmap(None, size, 0, mmap.MAP_SHARED, fd, 0)
        if at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap", path)
        try:
            if _libc.mincore(at, size, buffer):
                raise OSError(ctypes.get_errno(), "mincore", path)
        finally:
            _libc.munmap(at, size)
        return pages * _PAGE - _PAGE * buffer.raw[:pages].count(1)
    finally:
        os.close(fd)


def read_all(folder: Path) -> None:
    """Bring a folder's files into memory."""
    for where, _folders, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def lock(folder: Path) -> int:
    """Keep a folder's files in memory as long as this process lives; their bytes. Raises OSError where the machine does not allow it."""
    locked = 0
    for where, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            fd = os.open(path, os.O_RDONLY)
            try:
                size = os.fstat(fd).st_size
                at = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0) if size else 0
                if at == ctypes.c_void_p(-1).value or (size and _libc.mlock(at, size)):
                    raise OSError(ctypes.get_errno(), "mlock", path)
            finally:
                os.close(fd)
            locked += size
    return locked


if __name__ == "__main__":
    sys.stdout.write(f"{lock(Path(sys.argv[1]))}\n")
    sys.stdout.flush()
    sys.stdin.read()
