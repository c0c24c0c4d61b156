"""Common Media Server Data: what servers say about an object and about its delivery (CTA-5006). Pure rendering.

`CMSD-Static` is a dictionary that says how the object is, the same for everybody; `CMSD-Dynamic` a list to which each server on the way
puts itself, with parameters that hold for this answer only (RFC 8941 §3.1, §3.2). A value that is None is not said.
"""

from __future__ import annotations

import re

import msgspec

STATIC = b"CMSD-Static"
DYNAMIC = b"CMSD-Dynamic"
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")


class CmsdStatic(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of an object. Bitrate in kbit/s, times in ms, `at` in ms since the epoch."""

    at: int | None = None
    br: int | None = None
    d: int | None = None
    ht: int | None = None
    n: str | None = None
    nor: str | None = None
    nrr: str | None = None
    ot: str | None = None
    sf: str | None = None
    st: str | None = None
    su: bool = False
    v: int | None = None


class CmsdDynamic(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one delivery, by the server that says them."""

    etp: int | None = None
    """Estimated throughput to the client, kbit/s."""
    mb: int | None = None
    """Highest bitrate suggested, kbit/s."""
    rd: int | None = None
    """Time from the request to the first byte of the answer, ms."""
    rtt: int | None = None
    """Estimated round trip, ms."""
    du: bool = False
    """The server is under duress: clients with a choice should use it."""


_TOKENS = frozenset(("ot", "sf", "st"))


def render_static(facts: CmsdStatic) -> bytes:
    """The value of the header; empty when nothing is said."""
    members: list[str] = []
    for name in CmsdStatic.__struct_fields__:
        value: int | str | bool | None = getattr(facts, name)
        if value is None or value is False:
            continue
        members.append(name if value is True else f"{name}={_bare(name, value)}")
    return ",".join(members).encode("ascii")


def render_dynamic(server: str, facts: CmsdDynamic) -> bytes:
    """This server's entry of the header; `server` names it (any text, unsafe characters are left out)."""
    parts = [_string(server)]
    for name, value in (("etp", facts.etp), ("mb", facts.mb), ("rd", facts.rd), ("rtt", facts.rtt)):
        if value is not None:
            parts.append(f"{name}={value}")
    if facts.du:
        parts.append("du")
    return ";".join(parts).encode("ascii")


def _bare(name: str, value: int | str) -> str:
    if isinstance(value, int):
        return str(value)
    return value if name in _TOKENS and value.isascii() and value.isalnum() else _string(value)


def _string(text: str) -> str:
    return f'"{_UNSAFE.sub("", text)}"'
