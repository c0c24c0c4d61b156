"""Hand-made files of routes: a prefix a line, with what is known of it.

    # networks of isp-a, from their NOC, 2026-11-20
    198.18.0.0/16
    198.19.0.0/16   64500 64501   med=10   via=192.0.2.1

After the prefix come numbers of autonomous systems, nearest first, `med=` and `via=` (the next hop), in any order. `#` begins a comment. A
prefix with host bits, one that is there twice and anything that is not understood are refused, all at once, with their lines.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from contracts.routes import Route

MOST_ERRORS = 20


class LinesError(ValueError):
    """One line of words for each line of the file that cannot be taken."""


def routes(text: str) -> Iterator[Route]:
    """Raises LinesError when there is anything wrong, or nothing at all."""
    found: dict[str, Route] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            route = _route(words)
            if route.cidr in found:
                raise ValueError(f"{route.cidr} is there twice")
            found[route.cidr] = route
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if not found and not wrong:
        wrong.append("there is no prefix in it")
    if wrong:
        more = f"\nand {len(wrong) - MOST_ERRORS} lines more" if len(wrong) > MOST_ERRORS else ""
        raise LinesError("\n".join(wrong[:MOST_ERRORS]) + more)
    return iter(found.values())


def _route(words: list[str]) -> Route:
    """Raises ValueError."""
    cidr = str(ipaddress.ip_network(words[0]))
    path: list[int] = []
    med, via = 0, ""
    for word in words[1:]:
        name, sign, value = word.partition("=")
        if sign and name == "med":
            med = _number(value, "med")
        elif sign and name == "via":
            via = str(ipaddress.ip_address(value))
        else:
            path.append(_number(word, "the number of an AS"))
    return Route(cidr, tuple(path), med, via)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 1 << 32:
        raise ValueError(f"{text!r} is not {what}")
    return int(text)
