"""What of a request goes on to an upstream, and of its answer to the client, when neither is stored (RFC 9110 §7.6). Pure.

Laws:
- What belongs to one connection stays on it: the fields of `HOP_BY_HOP`, and those that `Connection` names (RFC 9110 §7.6.1). Framing is made
  anew on each side: a length where it is known, else chunks, else (to HTTP/1.0) the end of the connection.
- A request says whom it passed: `Via` (§7.6.3) and `CDN-Loop` (RFC 8586). One that has passed here before is refused.
- No tunnel and no other protocol: CONNECT and TRACE are refused, `Upgrade` is left out, which declines it (§7.8).
- Trailers are left out (§6.5.1), and with them `Trailer` and `TE`.
"""

from __future__ import annotations

from oca.http.reasons import Outcome
from oca.http.request import Request, RequestRefused
from oca.http.response import Answer, Surroundings, status_line

Fields = tuple[tuple[bytes, bytes], ...]

HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
_OF_REQUEST = frozenset((b"cdn-loop", b"content-length", b"expect", b"host"))
"""Made anew for the upstream."""
_OF_ANSWER = frozenset((b"content-length",))
_REFUSED = frozenset((b"CONNECT", b"TRACE"))
_BODILESS = (204, 304)
FORWARDED_METHOD = b"Cache-Status: lowtide;fwd=method\r\n"
FORWARDED = b"Cache-Status: lowtide;fwd=miss;stored=?0\r\n"
"""RFC 9211 §2.2, §2.5: nothing that is held answers it, and the answer may not be."""


def end_to_end(fields: Fields) -> Fields:
    """The fields that pass, in their order."""
    named = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    kept = HOP_BY_HOP | named
    return tuple((name, value) for name, value in fields if name.lower() not in kept)


def fields_upstream(request: Request, own_id: str) -> Fields:
    """Raises RequestRefused: 405 for what is never forwarded, 413, 400 for a field that cannot be said again."""
    if request.method in _REFUSED:
        raise RequestRefused(Outcome.METHOD, f"{request.method.decode()} is not forwarded")
    passing = end_to_end(request.fields)
    for name, value in passing:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RequestRefused(
                Outcome.BAD_REQUEST, f"the field {name.decode('latin-1')} is not UTF-8", fatal=False
            ) from error
    loops = [value for name, value in passing if name.lower() == b"cdn-loop"]
    loops.append(b"lowtide;appliance=%b" % (own_id or "unnamed").encode())
    return (
        *((name, value) for name, value in passing if name.lower() not in _OF_REQUEST),
        (b"Via", b"1.%d lowtide" % request.minor),
        (b"CDN-Loop", b", ".join(loops)),
    )


def answer_head(
    request: Request, around: Surroundings, status: int, fields: Fields, length: int | None, outcome: Outcome
) -> tuple[Answer, bool]:
    """The header that goes to the client, and whether its body goes in chunks.

    The upstream's own words on sharing with other pages stand; ours are said where it says none. The answer's connection stays only where
    the end of its body can be told, and the request has come whole.
    """
    passing = [(name, value) for name, value in end_to_end(fields) if name.lower() not in _OF_ANSWER]
    said = {name.lower() for name, _value in passing}
    bodiless = is_bodiless(request.method, status)
    chunked = not bodiless and length is None and request.minor > 0
    whole = request.body is None or request.body.ended
    keep = request.keep_alive and around.keep_alive and whole and (bodiless or chunked or length is not None)
    lines = [status_line(status)]
    if b"date" not in said:
        lines.append(around.date)
    lines += [b"%b: %b\r\n" % field for field in passing]
    lines.append(FORWARDED if request.method in (b"GET", b"HEAD") else FORWARDED_METHOD)
    if b"access-control-allow-origin" not in said:
        lines.append(around.cors.lines(request.headers.get(b"origin")))
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length is not None and status != 204:
        lines.append(b"Content-Length: %d\r\n" % length)
    if not keep:
        lines.append(b"Connection: close\r\n")
    elif not request.minor:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return Answer(status, b"".join(lines), (), 0 if bodiless else length or 0, outcome, keep), chunked


def is_bodiless(method: bytes, status: int) -> bool:
    """Whatever the header says, no body follows (RFC 9112 §6.3)."""
    return method == b"HEAD" or status in _BODILESS
