"""Checks received ranges against published block digests, whatever their boundaries.

Bytes are kept only for blocks that are not whole yet. `missing()` names what would complete the partly received blocks, so
that a player that ends in the middle can still prove every byte it used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.digests import BLOCK_BYTES, FileDigests, block_digest, block_length


class WrongBytes(Exception):
    """A block does not have its published digest."""


@dataclass
class _Partial:
    data: bytearray
    have: list[tuple[int, int]] = field(default_factory=list)


def merge(spans: list[tuple[int, int]], first: int, end: int) -> list[tuple[int, int]]:
    """Sorted, disjoint half-open spans with [first, end) added."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted([*spans, (first, end)]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


class FileVerifier:
    """Verifies one file. `checked_bytes` counts bytes in blocks that were proven."""

    def __init__(self, digests: FileDigests) -> None:
        self.digests = digests
        self._partial: dict[int, _Partial] = {}
        self._proven: set[int] = set()
        self.checked_bytes = 0

    def add(self, offset: int, data: bytes) -> None:
        """Takes bytes at `offset`. Raises WrongBytes, also when they lie outside the file."""
        if offset + len(data) > self.digests.size_bytes:
            raise WrongBytes(f"{self.digests.key}: bytes behind the end of the file")
        view = memoryview(data)
        while view:
            number, inside = divmod(offset, BLOCK_BYTES)
            piece = view[: BLOCK_BYTES - inside]
            self._add_to_block(number, inside, piece)
            offset, view = offset + len(piece), view[len(piece) :]

    def missing(self) -> list[tuple[int, int]]:
        """Half-open byte spans that would complete the blocks in hand."""
        spans = []
        for number, partial in sorted(self._partial.items()):
            base, at = number * BLOCK_BYTES, 0
            for low, high in [*partial.have, (len(partial.data), len(partial.data))]:
                if at < low:
                    spans.append((base + at, base + low))
                at = high
        return spans

    def _add_to_block(self, number: int, inside: int, piece: memoryview) -> None:
        length = block_length(self.digests.size_bytes, number)
        partial = self._partial.setdefault(number, _Partial(bytearray(length)))
        for have_low, have_high in partial.have:
            low, high = max(have_low, inside), min(have_high, inside + len(piece))
            if low < high and partial.data[low:high] != piece[low - inside : high - inside]:
                raise WrongBytes(f"{self.digests.key}: block {number} came differently twice")
        partial.data[inside : inside + len(piece)] = piece
        partial.have = merge(partial.have, inside, inside + len(piece))
        if partial.have == [(0, length)]:
            self._prove(number, partial.data)

    def _prove(self, number: int, data: bytearray) -> None:
        if block_digest(data) != self.digests.block(number):
            raise WrongBytes(f"{self.digests.key}: block {number} does not have its published digest")
        del self._partial[number]
        if number not in self._proven:
            self._proven.add(number)
            self.checked_bytes += len(data)


class Verifier:
    """FileVerifiers by path."""

    def __init__(self, digests: dict[str, FileDigests]) -> None:
        self._digests = digests
        self._files: dict[str, FileVerifier] = {}

    def add(self, path: str, offset: int, data: bytes) -> None:
        """Raises WrongBytes; a path without digests is wrong too."""
        self._file(path).add(offset, data)

    def missing(self) -> list[tuple[str, int, int]]:
        return [(path, low, high) for path, file in self._files.items() for low, high in file.missing()]

    @property
    def checked_bytes(self) -> int:
        return sum(file.checked_bytes for file in self._files.values())

    def _file(self, path: str) -> FileVerifier:
        if path not in self._files:
            if path not in self._digests:
                raise WrongBytes(f"{path} has no published digests")
            self._files[path] = FileVerifier(self._digests[path])
        return self._files[path]
