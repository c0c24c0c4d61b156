"""Bytes that more than one test asks about: requests that mean two things to two readers, and odd ones that are right.

`{p}` is a path and `{h}` a host. What stands in `SMUGGLING` is refused with 400 and the end of the connection.
"""

from __future__ import annotations

_POST = b"POST {p} HTTP/1.1\r\nHost: {h}\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"


def _get(lines: bytes) -> bytes:
    return b"GET {p} HTTP/1.1\r\nHost: {h}\r\n" + lines + b"\r\n\r\n"


def _coded(value: bytes) -> bytes:
    return _POST + b"Transfer-Encoding:" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


SMUGGLING: dict[str, bytes] = {
    # Two lengths.
    "different-lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the-same-length-twice": _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a-list-of-lengths": _POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "length-and-coding": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-and-length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "length-in-a-trailer": _CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "coding-in-a-trailer": _CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    # Lengths that are no numbers.
    "plus": _POST + b"Content-Length: +5\r\n\r\nhello",
    "minus": _POST + b"Content-Length: -5\r\n\r\nhello",
    "hexadecimal-length": _POST + b"Content-Length: 0x5\r\n\r\nhello",
    "empty-length": _POST + b"Content-Length: \r\n\r\nhello",
    "length-with-a-space": _POST + b"Content-Length: 5 5\r\n\r\nhello",
    "length-with-a-parameter": _POST + b"Content-Length: 5;a=b\r\n\r\nhello",
    "length-beyond-64-bits": _POST + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    # Codings.
    "chunked-and-identity": _coded(b" chunked, identity"),
    "identity-and-chunked": _coded(b" identity, chunked"),
    "identity": _coded(b" identity"),
    "gzip-and-chunked": _coded(b" gzip, chunked"),
    "xchunked": _coded(b" xchunked"),
    "x-space-chunked": _coded(b" x chunked"),
    "quoted-chunked": _coded(b' "chunked"'),
    "chunked-with-a-parameter": _coded(b" chunked;q=1"),
    "vertical-tab-chunked": _coded(b" \x0bchunked"),
    "folded-chunked": _coded(b"\r\n chunked"),
    "chunked-comma": _coded(b" chunked,"),
    "comma-chunked": _coded(b" ,chunked"),
    "empty-coding": _coded(b""),
    "chunked-twice": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-then-identity": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "identity-then-chunked": _POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-with-a-space-before-the-colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked-in-http-1.0": b"POST {p} HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # Chunks.
    "hexadecimal-chunk": _CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "signed-chunk": _CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "negative-chunk": _CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk-size-with-a-space": _CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "chunk-size-after-a-space": _CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "underscored-chunk": _CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n",
    "empty-chunk-size": _CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "chunk-beyond-64-bits": _CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "chunk-longer-than-said": _CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "chunk-without-its-end": _CHUNKED + b"5\r\nhello0\r\n\r\n",
    "chunk-ended-by-a-line-feed": _CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "chunk-size-ended-by-a-line-feed": _CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "extension-ended-by-a-line-feed": _CHUNKED + b"5;a\nhello\r\n0\r\n\r\n",
    "extension-with-a-carriage-return": _CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension-with-nul": _CHUNKED + b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "extension-without-a-name": _CHUNKED + b"5;\r\nhello\r\n0\r\n\r\n",
    "last-chunk-ended-by-line-feeds": _CHUNKED + b"0\n\n",
    "trailer-ended-by-a-line-feed": _CHUNKED + b"0\r\n\n",
    # Ends of lines.
    "line-feed-behind-the-request-line": b"GET {p} HTTP/1.1\nHost: {h}\r\n\r\n",
    "line-feed-behind-a-header": b"GET {p} HTTP/1.1\r\nHost: {h}\n\r\n",
    "line-feed-as-the-end": b"GET {p} HTTP/1.1\r\nHost: {h}\r\n\n",
    "line-feed-before-the-request": b"\nGET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "carriage-return-before-the-request": b"\rGET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "two-empty-lines-before-the-request": b"\r\n\r\nGET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "carriage-return-between-headers": b"GET {p} HTTP/1.1\r\nHost: {h}\rX: y\r\n\r\n",
    "carriage-return-in-a-value": _get(b"X: a\rb"),
    "carriage-return-twice": _get(b"X: a\r"),
    "folded-value": _get(b"X: a\r\n b"),
    "folded-value-by-a-tab": _get(b"X: a\r\n\tb"),
    "folded-empty-value": _get(b"X:\r\n b"),
    "space-before-the-first-header": b"GET {p} HTTP/1.1\r\n Host: {h}\r\n\r\n",
    # Header lines.
    "space-before-the-colon": _get(b"X : a"),
    "tab-before-the-colon": _get(b"X\t: a"),
    "no-name": _get(b": a"),
    "no-colon": _get(b"X"),
    "bracket-in-a-name": _get(b"X(): a"),
    "nul-in-a-name": _get(b"X\x00: a"),
    "byte-above-127-in-a-name": _get(b"X\xff: a"),
    "nul-in-a-value": _get(b"X: a\x00b"),
    "bell-in-a-value": _get(b"X: a\x07b"),
    "vertical-tab-in-a-value": _get(b"X: a\x0bb"),
    "form-feed-in-a-value": _get(b"X: a\x0cb"),
    "delete-in-a-value": _get(b"X: a\x7fb"),
    # The host.
    "host-twice": _get(b"Host: {h}"),
    "no-host": b"GET {p} HTTP/1.1\r\n\r\n",
    "empty-host": b"GET {p} HTTP/1.1\r\nHost:\r\n\r\n",
    "host-list": b"GET {p} HTTP/1.1\r\nHost: {h}, {h}\r\n\r\n",
    "host-with-a-space": b"GET {p} HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host-with-a-path": b"GET {p} HTTP/1.1\r\nHost: {h}/x\r\n\r\n",
    "host-with-a-user": b"GET {p} HTTP/1.1\r\nHost: u@{h}\r\n\r\n",
    "host-with-a-wrong-port": b"GET {p} HTTP/1.1\r\nHost: a:+80\r\n\r\n",
    "host-of-other-letters": b"GET {p} HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n",
    "wrong-host-of-options": b"OPTIONS * HTTP/1.1\r\nHost: a b\r\n\r\n",
    # The request line.
    "two-spaces-before-the-target": b"GET  {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "two-spaces-behind-the-target": b"GET {p}  HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "space-behind-the-version": b"GET {p} HTTP/1.1 \r\nHost: {h}\r\n\r\n",
    "space-before-the-method": b" GET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "tab-for-a-space": b"GET\t{p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "small-method": b"get {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "unknown-method": b"BREW {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "small-version": b"GET {p} http/1.1\r\nHost: {h}\r\n\r\n",
    "http-0.9": b"GET {p}\r\n\r\n",
    "http-0.9-by-name": b"GET {p} HTTP/0.9\r\nHost: {h}\r\n\r\n",
    "http-1.2": b"GET {p} HTTP/1.2\r\nHost: {h}\r\n\r\n",
    "http-2.0": b"GET {p} HTTP/2.0\r\nHost: {h}\r\n\r\n",
    "http-2-by-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "rtsp": b"GET {p} RTSP/1.0\r\nHost: {h}\r\n\r\n",
    "icecast": b"SOURCE {p} ICE/1.0\r\nHost: {h}\r\n\r\n",
    "nul-in-the-target": b"GET {p}\x00 HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "tab-in-the-target": b"GET {p}\t HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "delete-in-the-target": b"GET {p}\x7f HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "raw-byte-above-127-in-the-target": b"GET {p}\xff HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "tls-to-a-plain-port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
}

BODIES: dict[str, bytes] = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "zeros-before-the-length": b"Content-Length: 0005\r\n\r\nhello",
    "length-zero": b"Content-Length: 0\r\n\r\n",
    "a-request-as-body": b"Content-Length: 36\r\n\r\nGET /admin HTTP/1.1\r\nHost: inner\r\n\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunked-in-capitals": b"Transfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "chunk-extensions": b'Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d\\"e"\r\nhello\r\n0\r\n\r\n',
    "line-feeds-in-a-chunk": b"Transfer-Encoding: chunked\r\n\r\n4\r\n\n\r\n\n\r\n0\r\n\r\n",
    "empty-lines-in-a-chunk": b"Transfer-Encoding: chunked\r\n\r\n9\r\n\r\n\r\n\r\n\r\n0\r\n3\r\n\r\n0\r\n0\r\n\r\n",
    "trailers": b"Transfer-Encoding: chunked\r\n\r\n0\r\nRange: bytes=0-0\r\nHost: other\r\n\r\n",
}
"""Header lines and body of requests whose body is read and thrown away."""
