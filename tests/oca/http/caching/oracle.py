"""A second reading of RFC 9111, RFC 5861, RFC 8246 and RFC 9213 for a shared cache: slow, literal, and of nothing that `oca` has.

Every condition is a row (clause, predicate) of a table. Header fields are text; `Cache-Control` is read letter by letter. What `CDN-Cache-Control` means is told by
whoever made it up (`Case.targeted`), so that no second parser of Structured Fields is needed. Choices that the RFC leaves to the cache
are marked "ours"; they are those of docs/caching.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

Lines = list[tuple[str, str]]
BAD = object()
"""An argument that is neither token nor quoted string."""
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
MEANING = {
    "age", "cache-control", "cdn-cache-control", "content-encoding", "content-length", "content-range", "content-type", "date",
    "etag", "expires", "last-modified", "location", "vary",
}  # fmt: skip


@dataclass
class Case:
    """A request, the response it got, and the request that comes later. All times are whole seconds."""

    status: int
    response: Lines
    requested_at: int
    received_at: int
    now: int
    method: str = "GET"
    asked: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    later_method: str = "GET"
    targeted: list[tuple[str, object]] | None = None
    """What a valid, non-empty `CDN-Cache-Control` says: (name, None, number, list of names, or BAD)."""
    complete: bool = True
    negative_ttl: int = 5
    server_error_ttl: int = 0
    ceiling: int = 86_400
    stale_while_revalidate: int = 0
    stale_if_error: int = 0

    def lines(self, name: str) -> list[str]:
        return [value for other, value in self.response if other == name]

    def line(self, name: str) -> str | None:
        found = self.lines(name)
        return ", ".join(found) if found else None


def split(text: str) -> list[str]:
    """At commas that are not inside a quoted string; at all of them when a quoted string does not end."""
    parts, current, quoted, escaped = [], "", False, False
    for letter in text:
        if quoted:
            current += letter
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == '"':
                quoted = False
        elif letter == ",":
            parts.append(current)
            current = ""
        else:
            quoted = letter == '"'
            current += letter
    parts = text.split(",") if quoted else [*parts, current]
    return [part.strip(" \t") for part in parts if part.strip(" \t")]


def argument(text: str) -> object:
    if text and all(letter in TOKEN for letter in text):
        return text
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return BAD
    plain, escaped = "", False
    for letter in text[1:-1]:
        if not escaped and letter == "\\":
            escaped = True
        elif not escaped and letter == '"':
            return BAD
        else:
            plain, escaped = plain + letter, False
    return BAD if escaped else plain


def read(text: str | None) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for part in split(text or ""):
        if "=" in part:
            at = part.index("=")
            found.append((part[:at].strip(" \t").lower(), argument(part[at + 1 :])))
        else:
            found.append((part.lower(), None))
    return found


def number(said: object) -> int | None:
    if isinstance(said, int):
        return said
    if isinstance(said, str) and said and all(letter in "0123456789" for letter in said):
        return min(int(said), 2**31)
    return None


class Said:
    """The directives of a response or a request."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs

    def has(self, name: str) -> bool:
        return any(other == name for other, _said in self.pairs)

    def bare(self, name: str) -> bool:
        """The first of them has no argument."""
        return next((said is None for other, said in self.pairs if other == name), False)

    def lasts(self, name: str) -> int | None:
        """§4.2.1: unreadable or contradicting is stale (ours: where the first might be used, too)."""
        found = {number(said) for other, said in self.pairs if other == name}
        if not found:
            return None
        return 0 if len(found) > 1 or None in found else found.pop()

    def advice(self, name: str) -> int | None:
        return next((number(said) for other, said in self.pairs if other == name), None)

    def fields(self, name: str) -> set[str] | None:
        """The names of a qualified directive; None when it holds for all of the response (§5.2.2.4, §5.2.2.7)."""
        found: set[str] = set()
        for other, said in self.pairs:
            if other != name:
                continue
            listed = said if isinstance(said, list) else said.split(",") if isinstance(said, str) else [""]
            cleaned = [text.strip(" \t").lower() for text in listed]
            for text in cleaned:
                if not text or any(letter not in TOKEN for letter in text) or text in MEANING:  # ours: MEANING
                    return None
            found.update(cleaned)
        return found


def response_says(case: Case) -> Said:
    """RFC 9213 §2.2: the targeted field takes the place of `Cache-Control`."""
    return Said(read(case.line("cache-control")) if case.targeted is None else case.targeted)


def request_says(asked: dict[str, str]) -> Said:
    """§5.4: `Pragma: no-cache` as `Cache-Control: no-cache`, where that is absent."""
    if "cache-control" in asked:
        return Said(read(asked["cache-control"]))
    return Said([("no-cache", None)] if any(name == "no-cache" for name, _ in read(asked.get("pragma"))) else [])


@cache
def instant(text: str | None) -> int | None:
    try:
        return round(datetime.strptime(text or "", "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def expires(case: Case) -> str | None:
    return None if case.targeted is not None else case.line("expires")


def etag(case: Case) -> str | None:
    found = case.lines("etag")
    if len(found) != 1:
        return None
    opaque = found[0][2:] if found[0].startswith("W/") else found[0]
    return found[0] if len(opaque) > 1 and opaque[0] == opaque[-1] == '"' and '"' not in opaque[1:-1] else None


def is_strong(case: Case) -> bool:
    """RFC 9110 §8.8.1, §8.8.2.2 (ours: a minute)."""
    tag = etag(case)
    if tag is not None and not tag.startswith("W/"):
        return True
    date, changed = instant((case.lines("date") or [None])[0]), instant((case.lines("last-modified") or [None])[0])  # type: ignore[list-item]
    return date is not None and changed is not None and date - changed >= 60


# §3
HEURISTIC = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
KNOWN = {
    200,
    203,
    204,
    206,
    300,
    301,
    302,
    303,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    407,
    408,
    409,
    410,
    411,
    413,
    414,
    415,
    421,
    422,
}
KNOWN |= {426, 451, 500, 501, 502, 503, 504, 505}
ONE_REQUEST_ONLY = {304, 412, 416, 417, 428, 429, 431, 511}

Rule = tuple[str, Callable[[Case], bool]]
STORED_ONLY_IF: list[Rule] = [
    ("§3 the method is understood (ours: GET)", lambda c: c.method == "GET"),
    ("§3 the status is final", lambda c: 200 <= c.status <= 599),
    ("§3 must-understand: the status is understood", lambda c: not response_says(c).bare("must-understand") or c.status in KNOWN),
    ("ours: not an answer to one request's condition or range; RFC 6585", lambda c: c.status not in ONE_REQUEST_ONLY),
    ("§3 no no-store, §5.2.2.3", lambda c: not response_says(c).has("no-store") or response_says(c).bare("must-understand")),
    ("§5.2.1.5 no no-store in the request", lambda c: not request_says(c.asked).has("no-store")),
    ("§3 private allows a modified response", lambda c: response_says(c).fields("private") is not None),
    ("§3.5 authorization", lambda c: "authorization" not in c.asked or shareable(c)),
    ("§4.1 Vary: * never matches (ours: so it is not stored)", lambda c: "*" not in split(c.line("vary") or "")),
    ("§3 something allows it", lambda c: any(allows(c) for _clause, allows in ALLOWED_BY)),
    ("§7.3 ours: cookies are for one client", lambda c: not c.lines("set-cookie") or "set-cookie" in stripped(c)),
    ("§3.3 206: asked for, and says where it belongs", lambda c: c.status != 206 or ("range" in c.asked and part(c) is not None)),
    ("§3.3, §3.4 206: strong validator and length", lambda c: c.status != 206 or (is_strong(c) and (part(c) or (0, 0, None))[2] is not None)),
    ("§3.3 ended early: only as parts", lambda c: c.complete or c.status == 206 or in_blocks(c)),
    ("ours: of any use", lambda c: is_useful(c)),
]  # fmt: skip

ALLOWED_BY: list[Rule] = [
    ("public", lambda c: response_says(c).bare("public")),
    ("Expires", lambda c: expires(c) is not None),
    ("max-age", lambda c: response_says(c).has("max-age")),
    ("s-maxage", lambda c: response_says(c).has("s-maxage")),
    ("extension: the operator's life of errors", lambda c: c.status in (500, 502, 503, 504) and c.server_error_ttl > 0),
    ("heuristically cacheable", lambda c: c.status in HEURISTIC and (c.status not in (404, 405, 410, 414) or c.negative_ttl > 0)),
]  # fmt: skip


def shareable(case: Case) -> bool:
    said = response_says(case)
    return said.has("must-revalidate") or said.bare("public") or said.has("s-maxage")


def stripped(case: Case) -> set[str]:
    said = response_says(case)
    return (said.fields("no-cache") or set()) | (said.fields("private") or set())


def part(case: Case) -> tuple[int, int, int | None] | None:
    text = case.line("content-range") or ""
    if not text.startswith("bytes ") or "/" not in text or "-" not in text:
        return None
    positions, size = text[6:].split("/")
    first, last = positions.split("-")
    if not (first.isdigit() and last.isdigit() and (size == "*" or size.isdigit())):
        return None
    whole = None if size == "*" else int(size)
    return (
        None if int(first) > int(last) or (whole is not None and int(last) >= whole) else (int(first), int(last), whole)
    )


def in_blocks(case: Case) -> bool:
    return case.status == 206 or (case.status == 200 and is_strong(case) and case.line("content-length") is not None)


def is_useful(case: Case) -> bool:
    if etag(case) is not None or instant(case.line("last-modified")) is not None:
        return True
    if response_says(case).fields("no-cache") is None:
        return False
    window = (
        0 if forbids_stale(case) else max(window_of(case, "stale-while-revalidate"), window_of(case, "stale-if-error"))
    )
    return lifetime(case) + window > age(case, case.received_at)


def storing(case: Case) -> str:
    if not all(holds(case) for _clause, holds in STORED_ONLY_IF):
        return "not"
    return "blocks" if in_blocks(case) else "whole"


# §4.2
def date(case: Case) -> int:
    found = instant((case.lines("date") or [""])[0])
    return case.received_at if found is None else found


def heuristic(case: Case) -> float:
    changed = instant(case.line("last-modified"))
    guessed = 0.0 if changed is None else max(0, date(case) - changed) / 10
    return min(guessed, case.ceiling)


def effective_status(case: Case) -> int:
    """A part is stored as a part of a 200 (§3.4)."""
    return 200 if case.status == 206 else case.status


LIFETIMES: list[tuple[str, Callable[[Case], bool], Callable[[Case], float]]] = [
    ("§4.2.1 s-maxage", lambda c: response_says(c).has("s-maxage"), lambda c: response_says(c).lasts("s-maxage") or 0),
    ("§4.2.1 max-age", lambda c: response_says(c).has("max-age"), lambda c: response_says(c).lasts("max-age") or 0),
    ("§5.3 Expires that is no date", lambda c: expires(c) is not None and instant(expires(c)) is None, lambda c: 0),
    ("§4.2.1 Expires less Date", lambda c: expires(c) is not None, lambda c: max(0, (instant(expires(c)) or 0) - date(c))),
    ("ours: errors of clients", lambda c: c.status in (404, 405, 410, 414), lambda c: c.negative_ttl),
    ("ours: errors of servers", lambda c: c.status in (500, 502, 503, 504) and c.server_error_ttl > 0, lambda c: c.server_error_ttl),
    ("§4.2.2", lambda c: effective_status(c) in HEURISTIC or response_says(c).bare("public"), heuristic),
    ("nothing", lambda c: True, lambda c: 0),
]  # fmt: skip


def lifetime(case: Case) -> float:
    return next(value(case) for _clause, applies, value in LIFETIMES if applies(case))


def age(case: Case, now: int) -> int:
    """§4.2.3, name by name."""
    age_value = number((case.lines("age") or ["0"])[0].split(",")[0].strip()) or 0
    date_value = date(case)
    request_time, response_time = case.requested_at, case.received_at
    apparent_age = max(0, response_time - date_value)
    response_delay = response_time - request_time
    corrected_age_value = age_value + response_delay
    corrected_initial_age = max(apparent_age, corrected_age_value)
    resident_time = now - response_time
    return corrected_initial_age + resident_time


def forbids_stale(case: Case) -> bool:
    """§4.2.4: must-revalidate, proxy-revalidate, an applicable s-maxage."""
    said = response_says(case)
    return said.has("must-revalidate") or said.has("proxy-revalidate") or said.has("s-maxage")


def window_of(case: Case, name: str) -> int:
    said = response_says(case).lasts(name)
    ours = {"stale-while-revalidate": case.stale_while_revalidate, "stale-if-error": case.stale_if_error}
    return ours[name] if said is None else said


# §4
REFUSED_BY_REQUEST: list[tuple[str, Callable[[Case, Said], bool]]] = [
    ("§5.2.1.4 no-cache", lambda c, r: r.has("no-cache")),
    ("§5.2.1.3 min-fresh", lambda c, r: (r.advice("min-fresh") or 0) > lifetime(c) - age(c, c.now) and r.advice("min-fresh") is not None),
    ("§5.2.1.1 max-age, RFC 8246", lambda c, r: older_than_asked(c, r) and not (is_fresh(c) and response_says(c).bare("immutable"))),
]  # fmt: skip


def older_than_asked(case: Case, request: Said) -> bool:
    most = request.advice("max-age")
    return most is not None and age(case, case.now) > most


def is_fresh(case: Case) -> bool:
    return lifetime(case) > age(case, case.now)


def vary_matches(case: Case) -> bool:
    """§4.1 (ours: the fields of content negotiation are lists without an order)."""
    return all(
        listed(name.lower(), case.asked.get(name.lower())) == listed(name.lower(), case.later.get(name.lower()))
        for name in split(case.line("vary") or "")
    )


def listed(name: str, value: str | None) -> object:
    if value is None or name not in ("accept", "accept-encoding", "accept-language", "accept-charset"):
        return value
    text = value if name == "accept" else value.lower()
    return sorted("".join(letter for letter in part if letter not in " \t") for part in split(text))


def reuse(case: Case) -> str:
    """What the later request gets of the stored response, as a word of `Use`."""
    if case.later_method not in ("GET", "HEAD"):
        return "fetch"
    request = request_says(case.later)
    stays = "unsatisfiable" if request.has("only-if-cached") else None
    if not vary_matches(case):
        return stays or "fetch"
    permitted = permitted_use(case, request)
    if permitted is not None:
        return permitted
    can_validate = etag(case) is not None or instant(case.line("last-modified")) is not None
    return stays or ("revalidate" if can_validate else "fetch")


def permitted_use(case: Case, request: Said) -> str | None:
    if response_says(case).fields("no-cache") is None or any(
        refuses(case, request) for _clause, refuses in REFUSED_BY_REQUEST
    ):
        return None
    if is_fresh(case):
        return "hit"
    if forbids_stale(case):
        return None
    late = age(case, case.now) - lifetime(case)
    takes_any = request.bare("max-stale")
    most = 2**31 if takes_any else request.advice("max-stale")
    window = window_of(case, "stale-while-revalidate")
    if window > 0 and late <= window and (request.advice("max-age") is None or most is not None):
        return "refresh"
    return "hit-stale" if most is not None and late <= most else None


def reuse_after_error(case: Case, status: int | None) -> str:
    """RFC 5861 §4 and §5.2.2.2: whether the stored response stands in for an error."""
    failed = "unsatisfiable" if status is None else "fetch"
    request = request_says(case.later)
    if (
        status not in (None, 500, 502, 503, 504)
        or response_says(case).fields("no-cache") is None
        or request.has("no-cache")
    ):
        return failed
    if is_fresh(case):
        return "hit-stale"
    window = max(window_of(case, "stale-if-error"), request.advice("stale-if-error") or 0)
    late = age(case, case.now) - lifetime(case)
    return "hit-stale" if window > 0 and late <= window and not forbids_stale(case) else failed
