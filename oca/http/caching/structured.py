"""Structured Fields (RFC 9651 §4.2) as far as caching has them: the Dictionary of `CDN-Cache-Control` (RFC 9213), the List of `Cache-Status` (RFC 9211).

Law: strict, as that grammar wants it: what does not parse, or is empty, is as if the field were not there (RFC 9213 §2.1). A directive of a type that has no
use for it is not consumed: a number that is no integer counts as unreadable, a list of field names that is no string as unqualified, and `?0` as not said.
Parameters are parsed and ignored.
"""

from __future__ import annotations

import re

_KEY = re.compile(rb"[a-z*][a-z0-9_.*-]*")
_SPACE = re.compile(rb" *")
_WHITE = re.compile(rb"[ \t]*")
_STRING = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_NUMBER = re.compile(rb"-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15})(?![0-9.])")
_DATE = re.compile(rb"@-?[0-9]{1,15}(?![0-9.])")
_TOKEN = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_BYTES = re.compile(rb":[A-Za-z0-9+/]*={0,2}:")
_DISPLAY = re.compile(rb'%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"')
_ESCAPED = re.compile(rb"\\(.)")

Value = bytes | bool | None
"""As `fields.Directives` has them: bytes for an argument, None for none (Boolean true), False for a type without use."""


class _Malformed(Exception):
    pass


def read_dictionary(value: bytes | None) -> dict[bytes, list[Value]] | None:
    """The directives by name, each with one argument; None when the field is absent, empty or malformed."""
    if value is None:
        return None
    try:
        return _dictionary(value.strip(b" ")) or None
    except _Malformed:
        return None


def is_list(value: bytes) -> bool:
    """Whether it is a List, and not an empty one."""
    text = value.strip(b" ")
    at = 0
    try:
        while at < len(text):
            at = _next(text, _parameters(text, _member(text, at)[2]))
    except _Malformed:
        return False
    return bool(text)


def _dictionary(text: bytes) -> dict[bytes, list[Value]]:
    found: dict[bytes, list[Value]] = {}
    at = 0
    while at < len(text):
        name, at = _take(_KEY, text, at)
        said: Value = None
        kept = True
        if text[at : at + 1] == b"=":
            said, kept, at = _member(text, at + 1)
        at = _parameters(text, at)
        found.pop(name, None)  # the last of several stands (RFC 9651 §4.2.2)
        if kept:
            found[name] = [said]
        else:
            found[b"?0"] = [None]  # a member all the same: the field is not empty
        at = _next(text, at)
    return found


def _next(text: bytes, at: int) -> int:
    """Behind the comma before the next member, or the end."""
    at = _take(_WHITE, text, at)[1]
    if at == len(text):
        return at
    if text[at : at + 1] != b",":
        raise _Malformed
    at = _take(_WHITE, text, at + 1)[1]
    if at == len(text):
        raise _Malformed  # a trailing comma
    return at


def _member(text: bytes, at: int) -> tuple[Value, bool, int]:
    """The argument, whether the member says anything, and where it ends."""
    if text[at : at + 1] != b"(":
        return _item(text, at)
    at += 1
    while True:
        at = _take(_SPACE, text, at)[1]
        if text[at : at + 1] == b")":
            return False, True, at + 1
        _value, _kept, at = _item(text, at)
        at = _parameters(text, at)
        if text[at : at + 1] not in (b" ", b")"):
            raise _Malformed


def _item(text: bytes, at: int) -> tuple[Value, bool, int]:
    opening = text[at : at + 1]
    if opening == b"?":
        if text[at : at + 2] not in (b"?0", b"?1"):
            raise _Malformed
        return None, text[at + 1 : at + 2] == b"1", at + 2
    if opening == b'"':
        match = _STRING.match(text, at)
        if match is None:
            raise _Malformed
        return _ESCAPED.sub(rb"\1", match[1]), True, match.end()
    if opening.isdigit() or opening == b"-":
        found, end = _take(_NUMBER, text, at)
        return found if found.isdigit() else False, True, end
    for grammar in (_TOKEN, _BYTES, _DATE, _DISPLAY):
        match = grammar.match(text, at)
        if match is not None:
            return False, True, match.end()
    raise _Malformed


def _parameters(text: bytes, at: int) -> int:
    while text[at : at + 1] == b";":
        at = _take(_SPACE, text, at + 1)[1]
        at = _take(_KEY, text, at)[1]
        if text[at : at + 1] == b"=":
            at = _item(text, at + 1)[2]
    return at


def _take(grammar: re.Pattern[bytes], text: bytes, at: int) -> tuple[bytes, int]:
    match = grammar.match(text, at)
    if match is None:
        raise _Malformed
    return match[0], match.end()
