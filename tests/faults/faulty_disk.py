"""`python faulty_disk.py BACKING MOUNT`: a filesystem over a folder that becomes slow or sick when it is told to. Needs root and /dev/fuse.

It speaks the kernel's FUSE protocol (include/uapi/linux/fuse.h, 7.31) itself, so that no library stands between a test and what
the kernel makes of an error. Page cache and names are cached as on a disk: only what is not in memory is asked for here, and
dropping caches works.

Standard input takes one JSON object per line (fields of `Faults`; what is not named is off) and every line is answered on
standard output with what was done so far (fields of `Done`). The end of standard input unmounts. Paths are relative to
BACKING; a prefix names everything below it, "" everything.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

THREADS = 16
MAX_WRITE = 1 << 20
ROOT = 1
BLOCK_BYTES = 262_144
NEVER_S = 1 << 30
_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_SETATTR = struct.Struct("<II6Q8I")
_IO = struct.Struct("<QQIIQII")
_ASYNC_READ, _ATOMIC_O_TRUNC, _BIG_WRITES, _PARALLEL_DIROPS, _MAX_PAGES = 1, 1 << 3, 1 << 5, 1 << 18, 1 << 22
_KEEP_CACHE = 2
_SET_MODE, _SET_UID, _SET_GID, _SET_SIZE, _SET_ATIME, _SET_MTIME = 1, 2, 4, 8, 16, 32
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Faults:
    """What is wrong now."""

    delay_s: float = 0.0
    """Every read that reaches the disk takes so long."""
    unreadable: list[str] = field(default_factory=list)
    """Prefixes of paths whose reads end in EIO."""
    dead: bool = False
    """Everything that reaches the disk ends in EIO."""
    read_only: bool = False
    """Every change ends in EROFS."""
    short: list[str] = field(default_factory=list)
    """Prefixes of paths whose reads give half of what was asked for: the kernel takes the file for shorter than it is."""
    full: bool = False
    """What needs space ends in ENOSPC, and none is left."""
    flips: list[str] = field(default_factory=list)
    """Prefixes of paths in which a bit is flipped: the lowest of the first byte of every block of 256 KiB."""


@dataclass
class Done:
    reads: int = 0
    errors: int = 0
    """Operations that were refused because of a fault."""


@dataclass
class Node:
    """One inode the kernel knows, held open by path only."""

    fd: int
    path: str
    known: tuple[int, int]
    lookups: int = 0


class FaultyDisk:
    def __init__(self, backing: str, mount: str) -> None:
        self.faults = Faults()
        self.done = Done()
        self._mount = mount
        self._lock = threading.Lock()
        root = os.open(backing, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(root)
        self._nodes = {ROOT: Node(root, "", (found.st_dev, found.st_ino), 1)}
        self._by_inode = {(found.st_dev, found.st_ino): ROOT}
        self._next = ROOT + 1
        self._listings: dict[int, list[tuple[str, int, int]]] = {}
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        if _libc.mount(b"faulty-disk", mount.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), mount)
        self._calls: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: self._lookup, 2: self._forget, 3: self._getattr, 4: self._setattr, 9: self._mkdir, 10: self._unlink,
            11: self._rmdir, 12: self._rename, 14: self._open, 15: self._read, 16: self._write, 17: self._statfs,
            18: self._release, 20: self._fsync, 25: self._flush, 26: self._init, 27: self._opendir, 28: self._readdir,
            29: self._releasedir, 30: self._fsyncdir, 35: self._create, 42: self._batch_forget, 43: self._fallocate,
            45: self._rename2,
        }  # fmt: skip

    def serve(self) -> None:
        """Answer until unmounted."""
        while True:
            try:
                request = os.read(self._fd, MAX_WRITE + (1 << 16))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # the request was taken back
                    continue
                return
            if not request:
                return
            _length, opcode, unique, node, *_ = _IN.unpack_from(request)
            call = self._calls.get(opcode)
            try:
                reply = self._refuse_unknown() if call is None else call(node, request[_IN.size :])
                error_number = 0
            except OSError as error:
                reply, error_number = b"", -(error.errno or errno.EIO)
            except Exception:  # noqa: BLE001  a mistake in here must be seen, and must hang nobody
                traceback.print_exc()
                reply, error_number = b"", -errno.EREMOTEIO
            if reply is not None:
                self._answer(unique, error_number, reply)

    def _answer(self, unique: int, error_number: int, reply: bytes) -> None:
        try:
            os.write(self._fd, _OUT.pack(_OUT.size + len(reply), error_number, unique) + reply)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # the asker is gone, or the mount
                raise

    def unmount(self) -> None:
        _libc.umount2(self._mount.encode(), _MNT_DETACH)

    # What is wrong with it.

    def _refuse_unknown(self) -> bytes:
        raise OSError(errno.ENOSYS, "not offered")

    def _fault(self, number: int) -> OSError:
        with self._lock:
            self.done.errors += 1
        return OSError(number, os.strerror(number))

    def _alive(self) -> None:
        if self.faults.dead:
            raise self._fault(errno.EIO)

    def _writable(self) -> None:
        self._alive()
        if self.faults.read_only:
            raise self._fault(errno.EROFS)

    def _takes_more(self) -> None:
        self._writable()
        if self.faults.full:
            raise self._fault(errno.ENOSPC)

    # Names and attributes.

    def _init(self, _node: int, body: bytes) -> bytes:
        major, minor, readahead, _flags = struct.unpack_from("<4I", body)
        flags = _ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES | _PARALLEL_DIROPS | _MAX_PAGES
        out = struct.pack("<4IHHIIHH", major, min(minor, 31), readahead, flags, 64, 48, MAX_WRITE, 1, 256, 0)
        return out.ljust(64, b"\0")

    def _stat(self, found: os.stat_result) -> bytes:
        times = [found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns]
        seconds, parts = [t // 10**9 for t in times], [t % 10**9 for t in times]
        return _ATTRIBUTES.pack(
            found.st_ino, found.st_size, found.st_blocks, *seconds, *parts, found.st_mode, found.st_nlink, found.st_uid,
            found.st_gid, 0, 4096, 0,
        )  # fmt: skip

    def _attributes(self, number: int) -> bytes:
        return struct.pack("<QII", NEVER_S, 0, 0) + self._stat(os.fstat(self._nodes[number].fd))

    def _entry(self, parent: int, name: str) -> bytes:
        folder = self._nodes[parent]
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
        found = os.fstat(fd)
        inode = (found.st_dev, found.st_ino)
        with self._lock:
            number = self._by_inode.get(inode)
            if number is None:
                number, self._next = self._next, self._next + 1
                path = f"{folder.path}/{name}" if folder.path else name
                self._nodes[number] = Node(fd, path, inode)
                self._by_inode[inode] = number
            else:
                os.close(fd)
            self._nodes[number].lookups += 1
        return _ENTRY.pack(number, 0, NEVER_S, NEVER_S, 0, 0) + self._stat(found)

    def _lookup(self, node: int, body: bytes) -> bytes:
        self._alive()
        return self._entry(node, _name(body))

    def _forget(self, node: int, body: bytes) -> None:
        self._drop(node, struct.unpack_from("<Q", body)[0])

    def _batch_forget(self, _node: int, body: bytes) -> None:
        (count,) = struct.unpack_from("<I", body)
        for number in range(count):
            self._drop(*struct.unpack_from("<QQ", body, 8 + 16 * number))

    def _drop(self, number: int, lookups: int) -> None:
        with self._lock:
            node = self._nodes[number]
            node.lookups -= lookups
            if node.lookups <= 0 and number != ROOT:
                del self._nodes[number], self._by_inode[node.known]
                os.close(node.fd)

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return self._attributes(node)

    def _setattr(self, node: int, body: bytes) -> bytes:
        self._writable()
        valid, _, _fh, size, _owner, atime, mtime, _ctime, _, _, _, mode, _, uid, gid, _ = _SETATTR.unpack_from(body)
        path = _path(self._nodes[node].fd)
        if valid & _SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (_SET_UID | _SET_GID):
            os.chown(path, uid if valid & _SET_UID else -1, gid if valid & _SET_GID else -1)
        if valid & _SET_SIZE:
            os.truncate(path, size)
        if valid & _SET_ATIME and valid & _SET_MTIME:
            os.utime(path, (atime, mtime))
        return self._attributes(node)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        self._writable()
        (mode,) = struct.unpack_from("<I", body)
        os.mkdir(_name(body[8:]), mode, dir_fd=self._nodes[node].fd)
        return self._entry(node, _name(body[8:]))

    def _unlink(self, node: int, body: bytes) -> bytes:
        self._writable()
        os.unlink(_name(body), dir_fd=self._nodes[node].fd)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        self._writable()
        os.rmdir(_name(body), dir_fd=self._nodes[node].fd)
        return b""

    def _rename(self, node: int, body: bytes) -> bytes:
        return self._move(node, body, 8)

    def _rename2(self, node: int, body: bytes) -> bytes:
        return self._move(node, body, 16)

    def _move(self, node: int, body: bytes, names_at: int) -> bytes:
        self._writable()
        (folder,) = struct.unpack_from("<Q", body)
        old, new, *_ = body[names_at:].split(b"\0")
        os.rename(old, new, src_dir_fd=self._nodes[node].fd, dst_dir_fd=self._nodes[folder].fd)
        return b""

    # Files.

    def _open(self, node: int, body: bytes) -> bytes:
        self._alive()
        (flags,) = struct.unpack_from("<I", body)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._writable()
        return self._opened(
            os.open(_path(self._nodes[node].fd), flags & ~(os.O_CREAT | os.O_EXCL | os.O_DIRECT) | os.O_CLOEXEC)
        )

    def _opened(self, fd: int) -> bytes:
        return struct.pack("<QII", fd, _KEEP_CACHE, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        self._takes_more()
        flags, mode = struct.unpack_from("<II", body)
        name = _name(body[16:])
        fd = os.open(name, flags | os.O_CREAT | os.O_CLOEXEC, mode, dir_fd=self._nodes[node].fd)
        return self._entry(node, name) + self._opened(fd)

    def _read(self, node: int, body: bytes) -> bytes:
        fd, offset, size, *_ = _IO.unpack_from(body)
        faults, path = self.faults, self._nodes[node].path
        with self._lock:
            self.done.reads += 1
        if faults.delay_s:
            time.sleep(faults.delay_s)
        self._alive()
        if _is_below(path, faults.unreadable):
            raise self._fault(errno.EIO)
        if _is_below(path, faults.short):
            size //= 2
        data = os.pread(fd, size, offset)
        return _flipped(data, offset) if _is_below(path, faults.flips) else data

    def _write(self, _node: int, body: bytes) -> bytes:
        self._writable()
        fd, offset, size, *_ = _IO.unpack_from(body)
        return struct.pack("<II", os.pwrite(fd, body[_IO.size : _IO.size + size], offset), 0)

    def _fallocate(self, _node: int, body: bytes) -> bytes:
        self._takes_more()
        fd, offset, length, _mode = struct.unpack_from("<QQQI", body)
        os.posix_fallocate(fd, offset, length)
        return b""

    def _fsync(self, _node: int, body: bytes) -> bytes:
        self._writable()
        os.fdatasync(struct.unpack_from("<Q", body)[0])
        return b""

    def _flush(self, _node: int, _body: bytes) -> bytes:
        return b""

    def _release(self, _node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _statfs(self, node: int, _body: bytes) -> bytes:
        found = os.statvfs(_path(self._nodes[node].fd))
        free, available = (0, 0) if self.faults.full else (found.f_bfree, found.f_bavail)
        return struct.pack(
            "<5Q4I", found.f_blocks, free, available, found.f_files, found.f_ffree, found.f_bsize, 255,
            found.f_frsize, 0,
        ).ljust(80, b"\0")  # fmt: skip

    # Folders.

    def _opendir(self, node: int, _body: bytes) -> bytes:
        self._alive()
        with os.scandir(_path(self._nodes[node].fd)) as entries:
            listing = [(entry.name, entry.inode(), 4 if entry.is_dir() else 8) for entry in entries]
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._listings[number] = listing
        return struct.pack("<QII", number, 0, 0)

    def _readdir(self, _node: int, body: bytes) -> bytes:
        self._alive()
        number, offset, size, *_ = _IO.unpack_from(body)
        out = b""
        for at, (name, inode, kind) in enumerate(self._listings[number][offset:], offset + 1):
            raw = name.encode()
            record = struct.pack("<QQII", inode, at, len(raw), kind) + raw
            record = record.ljust(-(-len(record) // 8) * 8, b"\0")
            if len(out) + len(record) > size:
                break
            out += record
        return out

    def _releasedir(self, _node: int, body: bytes) -> bytes:
        with self._lock:
            del self._listings[struct.unpack_from("<Q", body)[0]]
        return b""

    def _fsyncdir(self, node: int, _body: bytes) -> bytes:
        self._writable()
        fd = os.open(_path(self._nodes[node].fd), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        return b""


def _name(body: bytes) -> str:
    return body.partition(b"\0")[0].decode()


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _flipped(data: bytes, offset: int) -> bytes:
    flipped = bytearray(data)
    for at in range(-offset % BLOCK_BYTES, len(data), BLOCK_BYTES):
        flipped[at] ^= 1
    return bytes(flipped)


def _is_below(path: str, prefixes: list[str]) -> bool:
    return any(path.startswith(prefix) for prefix in prefixes)


def main() -> None:
    os.umask(0)
    disk = FaultyDisk(*sys.argv[1:])
    for _ in range(THREADS):
        threading.Thread(target=disk.serve, daemon=True).start()
    try:
        for line in sys.stdin:
            disk.faults = Faults(**json.loads(line))
            sys.stdout.write(json.dumps(asdict(disk.done)) + "\n")
            sys.stdout.flush()
    finally:
        disk.unmount()


if __name__ == "__main__":
    main()
