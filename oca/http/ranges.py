"""The `Range` header (RFC 9110 §14): which bytes of a representation are wanted.

A range is an inclusive pair (first, last). What is malformed, in another unit, or unreasonable (too many parts, parts
that ask for more than the whole) is ignored: the whole representation is sent, as §14.2 allows. What is well-formed but lies
outside is 416.
"""

from __future__ import annotations

import re

Span = tuple[int, int]
MAX_PARTS = 16
_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_USUAL = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{1,18})")
_BEYOND = 1 << 63


class NotSatisfiable(Exception):
    """No part of what was asked for exists: 416."""


class _Malformed(Exception):
    pass


def parse_range(value: bytes, size: int) -> tuple[Span, ...] | None:
    """The satisfiable ranges in the order asked for, or None to ignore the header. Raises NotSatisfiable."""
    usual = _USUAL.fullmatch(value)  # what players ask: 3 µs less than the whole grammar
    if usual is not None:
        start, end = int(usual[1]), int(usual[2])
        if start <= end and start < size:
            return ((start, min(end, size - 1)),)
    unit, equals, rest = value.partition(b"=")
    if not equals or unit.strip().lower() != b"bytes":
        return None
    specs = [part for part in (part.strip(b" \t") for part in rest.split(b",")) if part]  # empty elements: §5.6.1.2
    if not 0 < len(specs) <= MAX_PARTS:
        return None
    try:
        wanted = [span for span in (_span(spec, size) for spec in specs) if span is not None]
    except _Malformed:
        return None
    if not wanted:
        raise NotSatisfiable
    if len(wanted) > 1 and sum(last - first + 1 for first, last in wanted) > size:
        return None
    return tuple(wanted)


def _span(spec: bytes, size: int) -> Span | None:
    """A satisfiable span, None when it lies outside."""
    match = _SPEC.fullmatch(spec)
    if match is None or spec == b"-":
        raise _Malformed
    first, last = match[1], match[2]
    if not first:
        length = min(_number(last), size)
        return (size - length, size - 1) if length else None
    start = _number(first)
    end = _number(last) if last else _BEYOND
    if end < start:
        raise _Malformed
    return (start, min(end, size - 1)) if start < size else None


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 19 else _BEYOND
