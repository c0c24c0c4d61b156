"""Common Media Client Data: what players say with each request (CTA-5004, version 1; CTA-5004-A, version 2). Pure.

Laws:
- Nothing a client sends raises. Reading stops at the first member that is no member; what came before counts.
- A known key has the kind of the table or is dropped (`malformed` counts it), so that a column has one type.
- Version 2 gives some numbers as lists, one item per kind of object (`br=(3000;v 128;a)`): `values` has the number of the video (the
  first item where there is none), `lists` all of them.
- Keys nobody knows are kept as text, bounded in number and length. Of two equal keys the last counts (RFC 8941 §3.2).

Theory: a payload is a dictionary of RFC 8941, in a query argument percent-encoded once more. Players escape four or five
characters and use neither commas nor escapes in strings, so that cutting at (encoded) commas is enough; whatever is not that simple
is read by `_slowly`. Most members repeat (`ot=v`, `sid=…`, `br=…`): they are read once and remembered, as they came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

import msgspec

Scalar = bool | int | float | str
MAX_PAYLOAD_BYTES = 4096
MAX_OTHER_KEYS = 16
MAX_TEXT = 1024
MAX_ITEMS = 16
_REMEMBERED_BYTES = 1024
"""Only members of payloads up to here are remembered: with `_REMEMBERED` of them, a bound of memory that no client can raise."""
_REMEMBERED = 8192
_LONGEST_INTEGER = 15
"""Digits of an integer (RFC 8941 §3.3.1)."""


class CmcdKind(Enum):
    """Type of a value (CTA-5004 §3.2; RFC 8941 §3.3)."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    TOKEN = "token"
    STRING = "string"
    BOOLEAN = "boolean"


class CmcdHeader(Enum):
    """The four request headers, by how often their keys change; EVENT keys travel in reports only."""

    OBJECT = "CMCD-Object"
    REQUEST = "CMCD-Request"
    STATUS = "CMCD-Status"
    SESSION = "CMCD-Session"
    EVENT = ""


class CmcdKey(Enum):
    """A known key: (name, kind, version it came with, header, what it says)."""

    BR = ("br", CmcdKind.INTEGER, 1, CmcdHeader.OBJECT, "encoded bitrate, kbit/s")
    D = ("d", CmcdKind.INTEGER, 1, CmcdHeader.OBJECT, "duration of the object, ms")
    OT = ("ot", CmcdKind.TOKEN, 1, CmcdHeader.OBJECT, "object type: m a v av i c tt k o")
    TB = ("tb", CmcdKind.INTEGER, 1, CmcdHeader.OBJECT, "highest bitrate on offer, kbit/s")
    BL = ("bl", CmcdKind.INTEGER, 1, CmcdHeader.REQUEST, "buffer length, ms")
    DL = ("dl", CmcdKind.INTEGER, 1, CmcdHeader.REQUEST, "deadline, ms")
    MTP = ("mtp", CmcdKind.INTEGER, 1, CmcdHeader.REQUEST, "measured throughput, kbit/s")
    NOR = ("nor", CmcdKind.STRING, 1, CmcdHeader.REQUEST, "next object, a relative path (percent-encoded)")
    NRR = ("nrr", CmcdKind.STRING, 1, CmcdHeader.REQUEST, "next range of bytes")
    SU = ("su", CmcdKind.BOOLEAN, 1, CmcdHeader.REQUEST, "start-up: needed urgently")
    BS = ("bs", CmcdKind.BOOLEAN, 1, CmcdHeader.STATUS, "the buffer ran dry since the last request")
    RTP = ("rtp", CmcdKind.INTEGER, 1, CmcdHeader.STATUS, "highest throughput of use, kbit/s")
    CID = ("cid", CmcdKind.STRING, 1, CmcdHeader.SESSION, "content")
    PR = ("pr", CmcdKind.DECIMAL, 1, CmcdHeader.SESSION, "playback rate")
    SF = ("sf", CmcdKind.TOKEN, 1, CmcdHeader.SESSION, "streaming format: d h s o")
    SID = ("sid", CmcdKind.STRING, 1, CmcdHeader.SESSION, "playback session")
    ST = ("st", CmcdKind.TOKEN, 1, CmcdHeader.SESSION, "stream type: v l")
    V = ("v", CmcdKind.INTEGER, 1, CmcdHeader.SESSION, "version of CMCD")
    AB = ("ab", CmcdKind.INTEGER, 2, CmcdHeader.OBJECT, "bitrate of all tracks together, kbit/s")
    LAB = ("lab", CmcdKind.INTEGER, 2, CmcdHeader.OBJECT, "lowest bitrate of all tracks together, kbit/s")
    LB = ("lb", CmcdKind.INTEGER, 2, CmcdHeader.OBJECT, "lowest bitrate on offer, kbit/s")
    TAB = ("tab", CmcdKind.INTEGER, 2, CmcdHeader.OBJECT, "highest bitrate of all tracks together, kbit/s")
    TPB = ("tpb", CmcdKind.INTEGER, 2, CmcdHeader.OBJECT, "highest bitrate the player may choose, kbit/s")
    CS = ("cs", CmcdKind.STRING, 2, CmcdHeader.REQUEST, "signature of the content")
    DFA = ("dfa", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "frames dropped so far")
    LTC = ("ltc", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "live latency, ms")
    PB = ("pb", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "bitrate at the playhead, kbit/s")
    SN = ("sn", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "sequence number")
    STA = ("sta", CmcdKind.TOKEN, 2, CmcdHeader.REQUEST, "state of the player: s p k r a w e f q d")
    TBL = ("tbl", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "buffer length aimed at, ms")
    BG = ("bg", CmcdKind.BOOLEAN, 2, CmcdHeader.STATUS, "the player is not visible")
    BSA = ("bsa", CmcdKind.INTEGER, 2, CmcdHeader.STATUS, "times the buffer ran dry so far")
    BSD = ("bsd", CmcdKind.INTEGER, 2, CmcdHeader.STATUS, "how long the buffer was dry, ms")
    BSDA = ("bsda", CmcdKind.INTEGER, 2, CmcdHeader.STATUS, "how long the buffer was dry so far, ms")
    CDN = ("cdn", CmcdKind.STRING, 2, CmcdHeader.STATUS, "CDN in use, as the player calls it")
    EC = ("ec", CmcdKind.STRING, 2, CmcdHeader.STATUS, "error code of the player")
    NR = ("nr", CmcdKind.BOOLEAN, 2, CmcdHeader.STATUS, "the content is not really played (prefetched)")
    PT = ("pt", CmcdKind.INTEGER, 2, CmcdHeader.STATUS, "position of the playhead, ms")
    MSD = ("msd", CmcdKind.INTEGER, 2, CmcdHeader.SESSION, "delay from wish to first frame, ms")
    TS = ("ts", CmcdKind.INTEGER, 2, CmcdHeader.REQUEST, "when it was said, ms since the epoch")
    E = ("e", CmcdKind.TOKEN, 2, CmcdHeader.EVENT, "event")
    CEN = ("cen", CmcdKind.STRING, 2, CmcdHeader.EVENT, "name of a custom event")
    H = ("h", CmcdKind.STRING, 2, CmcdHeader.EVENT, "host name of a steering answer")
    RC = ("rc", CmcdKind.INTEGER, 2, CmcdHeader.EVENT, "status of the answer")
    TTFB = ("ttfb", CmcdKind.INTEGER, 2, CmcdHeader.EVENT, "time to the first byte, ms")
    TTFBB = ("ttfbb", CmcdKind.INTEGER, 2, CmcdHeader.EVENT, "time to the first byte of the body, ms")
    TTLB = ("ttlb", CmcdKind.INTEGER, 2, CmcdHeader.EVENT, "time to the last byte, ms")
    URL = ("url", CmcdKind.STRING, 2, CmcdHeader.EVENT, "address asked for")
    SMRT = ("smrt", CmcdKind.STRING, 2, CmcdHeader.EVENT, "streaming media response timing, opaque")
    CMSDD = ("cmsdd", CmcdKind.STRING, 2, CmcdHeader.EVENT, "the answer's CMSD-Dynamic, Base64")
    CMSDS = ("cmsds", CmcdKind.STRING, 2, CmcdHeader.EVENT, "the answer's CMSD-Static, Base64")

    def __init__(self, word: str, kind: CmcdKind, version: int, header: CmcdHeader, text: str) -> None:
        self.word = word
        self.kind = kind
        self.version = version
        self.header = header
        self.text = text


class CmcdItem(msgspec.Struct, frozen=True):
    """One item of a list. A parameter without a value is True."""

    value: Scalar
    parameters: dict[str, Scalar] = {}


class Cmcd(msgspec.Struct, frozen=True, gc=False):
    """What one request said. Empty when it said nothing."""

    values: dict[str, Scalar]
    lists: dict[str, tuple[CmcdItem, ...]] | None = None
    other: dict[str, str] | None = None
    """Keys nobody knows, with their values as they came."""
    malformed: int = 0
    """Members that were dropped."""


class NextObject(msgspec.Struct, frozen=True):
    """A hint of what is asked for next: `path` relative to the object asked for now (empty: the same), `span` as `first-last`."""

    path: str
    span: str = ""


_NAME = re.compile(r"[A-Za-z*][A-Za-z0-9_.*-]{0,63}")
_STRING = r'"(?:[^"\\]|\\.)*+"'
_MEMBER = re.compile(
    rf"[ \t]*+([A-Za-z*][A-Za-z0-9_.*-]{{0,63}})(?:=((?:{_STRING}|\((?:{_STRING}|[^\")])*+\)|[^\",(\s])*+))?[ \t]*+(?:,|$)"
)
_ITEM = re.compile(rf" *+({_STRING}|[^\" ;]++)((?:; *+[a-z*][a-z0-9_.*-]*+(?:=(?:{_STRING}|[^\" ;]++))?)*+)(?: ++|$)")
_PARAMETER = re.compile(rf"; *+([a-z*][a-z0-9_.*-]*+)(?:=({_STRING}|[^\" ;]++))?")
_DECIMAL = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,6})?")
_TOKEN = re.compile(r"[A-Za-z0-9*][!#$%&'*+.^_`|~0-9A-Za-z:/-]{0,127}")
_ESCAPED = re.compile(r"\\(.)")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_KINDS = {key.word: key.kind for key in CmcdKey}
_NOTHING = Cmcd({})


def read_query(query: bytes) -> Cmcd:
    """From a raw query (without its question mark) that has `CMCD=…` anywhere, percent-encoded."""
    if query.startswith(b"CMCD="):
        start = 5
    else:
        start = query.find(b"&CMCD=") + 6
        if start == 5:
            return _NOTHING
    end = query.find(b"&", start)
    raw = query[start:end] if end >= 0 else query[start:]
    if len(raw) > 3 * MAX_PAYLOAD_BYTES:
        return Cmcd({}, malformed=1)
    found = _simply(map(_encoded, raw.split(b"%2C"))) if len(raw) <= _REMEMBERED_BYTES else None
    return found if found is not None else read_payload(_PERCENT.sub(_percent, raw).decode("utf-8", "replace"))


def read_headers(values: Iterable[bytes]) -> Cmcd:
    """From the values of the `CMCD-*` headers, in whatever order (RFC 9110 §5.3: the same as one list)."""
    return read_payload(b",".join(values).decode("utf-8", "replace"))


def read_payload(text: str) -> Cmcd:
    """From a payload as the standard writes it."""
    if not text:
        return _NOTHING
    if len(text) > MAX_PAYLOAD_BYTES:
        return Cmcd({}, malformed=1)
    found = _simply(map(_plain, text.split(","))) if len(text) <= _REMEMBERED_BYTES else None
    return found if found is not None else _slowly(text)


def next_objects(cmcd: Cmcd) -> tuple[NextObject, ...]:
    """The hints `nor` and `nrr`, of either version, at most `MAX_ITEMS`."""
    many = (cmcd.lists or {}).get(CmcdKey.NOR.word)
    if many is not None:
        return tuple(
            NextObject(_unquote(str(item.value)), str(item.parameters.get("r", "")))
            for item in many
            if isinstance(item.value, str)
        )
    path, span = cmcd.values.get(CmcdKey.NOR.word, ""), cmcd.values.get(CmcdKey.NRR.word, "")
    return (NextObject(_unquote(str(path)), str(span)),) if path or span else ()


def _simply(members: Iterable[tuple[str, Scalar] | None]) -> Cmcd | None:
    try:
        # One call of C for all members, half the time of a loop; a member that is None, and no pair, ends it.
        values = dict(members)  # type: ignore[arg-type]
    except TypeError:
        return None
    return Cmcd(values)


def _read_member(member: str) -> tuple[str, Scalar] | None:
    """A known key with a simple value of its kind; None when it needs a closer look."""
    key, equals, text = member.strip(" ").partition("=")
    kind = _KINDS.get(key)
    if kind is None:
        return None
    if not equals:
        return (key, True) if kind is CmcdKind.BOOLEAN else None
    simple = "\\" not in text and text[:1] != "(" and "," not in text and '"' not in text[1:-1]
    value = _scalar(kind, text) if simple else None
    return None if value is None else (key, value)


class _Plain(dict[str, tuple[str, Scalar] | None]):
    """Members read before. A dictionary with `__missing__` answers twice as fast as `lru_cache`."""

    def __missing__(self, member: str) -> tuple[str, Scalar] | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[member] = _read_member(member)
        return found


class _Encoded(dict[bytes, tuple[str, Scalar] | None]):
    """The same for members that are percent-encoded."""

    def __missing__(self, member: bytes) -> tuple[str, Scalar] | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[member] = _read_member(_PERCENT.sub(_percent, member).decode("utf-8", "replace"))
        return found


_plain, _encoded = _Plain().__getitem__, _Encoded().__getitem__


def _slowly(text: str) -> Cmcd:
    values: dict[str, Scalar] = {}
    lists: dict[str, tuple[CmcdItem, ...]] = {}
    other: dict[str, str] = {}
    malformed, at = 0, 0
    while at < len(text):
        match = _MEMBER.match(text, at)
        if match is None:
            malformed += 1
            break
        at = match.end()
        key, raw = match[1], match[2]
        if (kind := _KINDS.get(key)) is None:
            if key in other or len(other) < MAX_OTHER_KEYS:
                other[key] = "" if raw is None else raw[:MAX_TEXT]
            else:
                malformed += 1
        elif raw is not None and raw.startswith("("):
            items = _items(kind, raw)
            if items:
                lists[key] = items
                values[key] = _leading(items)
            else:
                malformed += 1
        else:
            value = _scalar(kind, raw) if raw is not None else kind is CmcdKind.BOOLEAN or None
            if value is None:
                malformed += 1
            else:
                values[key] = value
                lists.pop(key, None)
    return Cmcd(values, lists or None, other or None, malformed)


def _items(kind: CmcdKind, raw: str) -> tuple[CmcdItem, ...]:
    """Of `(a;x b;y="z")`: the items of the right kind. Empty when it is no list."""
    found: list[CmcdItem] = []
    inside, at = raw[1:-1] if raw.endswith(")") else "", 0
    while at < len(inside) and len(found) < MAX_ITEMS:
        match = _ITEM.match(inside, at)
        if match is None:
            break
        at = match.end()
        value = _scalar(kind, match[1])
        if value is not None:
            found.append(CmcdItem(value, {pair[1]: _bare(pair[2]) for pair in _PARAMETER.finditer(match[2])}))
    return tuple(found)


def _leading(items: tuple[CmcdItem, ...]) -> Scalar:
    return next((item.value for item in items if "v" in item.parameters or "av" in item.parameters), items[0].value)


def _scalar(kind: CmcdKind, text: str) -> Scalar | None:
    """The value of a kind; None when the text is not of it. A quoted token and a token for a string are taken: players mix them up."""
    match kind:
        case CmcdKind.INTEGER:
            digits = text[1:] if text[:1] == "-" else text
            if len(digits) <= _LONGEST_INTEGER and digits.isascii() and digits.isdecimal():
                return int(text)
            return round(float(text)) if len(text) <= 2 * _LONGEST_INTEGER and _DECIMAL.fullmatch(text) else None
        case CmcdKind.STRING | CmcdKind.TOKEN:
            if len(text) > 1 and text[0] == '"' == text[-1]:
                inside = text[1:-1]
                return (_ESCAPED.sub(r"\1", inside) if "\\" in inside else inside)[:MAX_TEXT]
            return text if _TOKEN.fullmatch(text) else None
        case CmcdKind.DECIMAL:
            return float(text) if _DECIMAL.fullmatch(text) else None
        case CmcdKind.BOOLEAN:
            return {"?1": True, "?0": False, "true": True, "false": False}.get(text)


def _bare(text: str | None) -> Scalar:
    """A parameter's value, whose kind nobody knows beforehand."""
    if text is None:
        return True
    for kind in (CmcdKind.INTEGER, CmcdKind.DECIMAL, CmcdKind.BOOLEAN, CmcdKind.STRING):
        value = _scalar(kind, text)
        if value is not None:
            return value
    return text[:MAX_TEXT]


def _percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _unquote(text: str) -> str:
    """A path of a hint: percent-encoded once more than the payload (CTA-5004 §3.3, `nor`)."""
    return _PERCENT.sub(_percent, text.encode()).decode("utf-8", "replace") if "%" in text else text
