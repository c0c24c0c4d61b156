"""`lowtide oca simulate`: open a trace, replay it through the policies of the store, print what each would have missed.

Reading streams; the trace is then held in memory, four bytes per request and about a hundred per object while it is read.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

from policies.comparison import Comparison, SizeFigures
from policies.trace import Request, Trace, collect
from policies.traceformats import ORACLE_GENERAL, Columns, TraceError, read_csv, read_oracle_general

_CHUNK = ORACLE_GENERAL.size << 15
_ZSTD = ("compression.zstd", "backports.zstd", "zstandard")
"""Any of these reads .zst; none is needed for anything else."""


def load(path: Path, form: str, columns: Columns, on_bytes: Callable[[int, int], None] | None = None) -> Trace:
    """The whole trace. `form` is `csv`, `oracle` or `auto` (by the name: .csv, .tsv, .txt are lines, the rest records).

    `on_bytes` hears how much of the file was read, and its size. Raises TraceError, and OSError when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        chunks = _read(file, lambda: on_bytes(file.tell(), size) if on_bytes is not None else None)
        if path.suffix == ".zst":
            chunks = decompressed(chunks, _zstd())
        return collect(_requests(chunks, _form(path, form), columns))


def _form(path: Path, form: str) -> str:
    if form != "auto":
        return form
    name = path.name.removesuffix(".zst")
    return "csv" if name.endswith((".csv", ".tsv", ".txt")) else "oracle"


def _requests(chunks: Iterable[bytes], form: str, columns: Columns) -> Iterator[Request]:
    return read_csv(_lines(chunks), columns) if form == "csv" else read_oracle_general(chunks)


def _read(file: BinaryIO, on_chunk: Callable[[], None]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
        on_chunk()


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


class _Frame(Protocol):
    """One zstd frame being read; both libraries have this."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes: ...


def decompressed(chunks: Iterable[bytes], library: ModuleType) -> Iterator[bytes]:
    """All frames, one after the other. Raises TraceError; also for an end inside a frame, which zstandard's own reader passes over."""
    frame: _Frame | None = None
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if frame is None:
                    frame = _new_frame(library)
                yield frame.decompress(rest)
                rest = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    except library.ZstdError as error:
        raise TraceError(f"cannot be decompressed: {error}") from error
    if frame is not None:
        raise TraceError("cannot be decompressed: it ends in the middle of a frame")


def _new_frame(library: ModuleType) -> _Frame:
    made = library.ZstdDecompressor()
    frame: _Frame = made.decompressobj() if hasattr(made, "decompressobj") else made
    return frame


def _zstd() -> ModuleType:
    for name in _ZSTD:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise TraceError("needs a library for zstd: pip install zstandard, or decompress it first (zstd -d)")


def in_words(found: Comparison) -> str:
    """The table that people read: ratios in percent, a row per size and policy."""
    head = (
        f"{found.requests} requests for {found.objects} objects of {found.footprint_bytes} bytes together; "
        f"{found.requested_bytes} bytes asked for"
    )
    lines = [head]
    if found.resized_requests:
        lines.append(
            f"{found.resized_requests} requests named another size than the first for their object; the first counts"
        )
    lines.append(f"{'size, bytes':>16} {'of all':>7}  {'policy':<8} {'objects missed':>14} {'bytes missed':>13}")
    for size in found.sizes:
        lines += _rows(size, found.one_size)
    if any(size.belady is not None for size in found.sizes):
        lines.append(
            "belady knows the future: with objects of one size, as here, no policy misses fewer."
            if found.one_size
            else "belady knows the future, yet is only optimal for objects of one size; no policy at all misses less than the bound."
        )
    return "\n".join(lines)


def _rows(size: SizeFigures, one_size: bool) -> list[str]:
    shown = [(one.policy, one.object_miss_ratio, one.byte_miss_ratio) for one in size.policies]
    if size.belady is not None:
        shown.append((size.belady.policy, size.belady.object_miss_ratio, size.belady.byte_miss_ratio))
    if not one_size and size.bound_object_miss_ratio is not None and size.bound_byte_miss_ratio is not None:
        shown.append(("bound", size.bound_object_miss_ratio, size.bound_byte_miss_ratio))
    return [
        f"{size.capacity_bytes:>16} {size.share_of_footprint:>7.2%}  {name:<8} {objects:>14.2%} {amount:>13.2%}"
        for name, objects, amount in shown
    ]
