"""What a request for a published file is answered with: conditions and one range (RFC 9110 §13, §14). Pure.

Files never change while they are published, so there is one strong validator and no date. Several ranges at once are
answered with the whole file, as RFC 9110 §14.2 allows; players and appliances ask for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)
_BEYOND = 1 << 63
"""Stands for every number that no file reaches: Python refuses to read thousands of digits."""
_TAG = re.compile(r'(W/)?("[^"]*")')


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the bytes [first, first + length) that a GET carries; `content_range` where the status needs it."""

    status: int
    first: int = 0
    length: int = 0
    content_range: str = ""


def answer(method: str, headers: Mapping[str, str], size: int, etag: str) -> Answer:
    """The answer to a GET or HEAD of a file of `size` bytes. `headers` are looked up in the usual spelling."""
    if_match = headers.get("If-Match")
    if if_match is not None and not _names(if_match, etag, strong=True):
        return Answer(412)
    if_none_match = headers.get("If-None-Match")
    if if_none_match is not None and _names(if_none_match, etag, strong=False):
        return Answer(304)
    whole = Answer(200, 0, size)
    wanted = headers.get("Range")
    if method != "GET" or wanted is None:
        return whole
    if_range = headers.get("If-Range")
    if if_range is not None and if_range.strip() != etag:
        return whole
    return _ranged(wanted, size) or whole


def _ranged(wanted: str, size: int) -> Answer | None:
    """206 or 416; None when the header is not a single range of bytes and is therefore ignored."""
    match = _RANGE.fullmatch(wanted)
    if match is None or match.groups() == ("", ""):
        return None
    start, end = (_number(digits) if digits else None for digits in match.groups())
    if start is not None and end is not None and end < start:
        return None
    first = start if start is not None else max(0, size - (end or 0))
    last = min(end, size - 1) if start is not None and end is not None else size - 1
    if first >= size:
        return Answer(416, content_range=f"bytes */{size}")
    return Answer(206, first, last - first + 1, f"bytes {first}-{last}/{size}")


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 19 else _BEYOND


def _names(listed: str, etag: str, *, strong: bool) -> bool:
    """True when the list of entity tags holds `*` or ours; weak ones match only in the weak comparison (§8.8.3.2)."""
    if listed.strip() == "*":
        return True
    return any(tag == etag and not (strong and weak) for weak, tag in _TAG.findall(listed))
