"""A media token in words, for people: what it says, and whether it would open an address. Needs no private key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from contracts.keys import KeySet, KeyUse
from contracts.tokens.claims import LATEST_S, TokenRefused
from contracts.tokens.media import TokenFormat, codec_of, format_of, verify
from contracts.urls import split_token

FORMATS = {TokenFormat.JWT: "URI Signing (RFC 9246)", TokenFormat.CAT: "Common Access Token (CTA-5007)"}
_TIMES = ("exp", "nbf", "iat")
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an appliance with these keys would say now. `refused` is None when the token opens the path."""

    path: str
    refused: TokenRefused | None

    @property
    def sentence(self) -> str:
        if self.refused is None:
            return f"opens {self.path}"
        why = self.refused.why
        return f"does not open {self.path}: 403 {why.problem} ({why.word}): {self.refused}"


def find_token(text: str) -> tuple[str, str]:
    """(token, path without it or empty) in a token, an address, or the path of one."""
    text = text.strip()
    path = urlsplit(text).path if "://" in text else text.partition("?")[0]
    if not path.startswith("/"):
        return text, ""
    token, rest = split_token(path)
    return token or "", rest


def described(token: str, now: float) -> Iterator[tuple[str, str]]:
    """(name, words) of everything a token says, unverified. Raises TokenRefused when it cannot be read."""
    format_ = format_of(token)
    header, claims = codec_of(format_).shown(token)
    yield "format", f"{format_.value}, {FORMATS[format_]}"
    yield from ((name, str(value)) for name, value in header.items())
    for name, value in claims.items():
        yield name, _moment(value, now) if name in _TIMES else str(value)


def read_key_set(data: bytes) -> KeySet:
    """A key set in JSON. Raises ValueError in words."""
    try:
        return msgspec.json.decode(data, type=KeySet)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"is no key set: {error}") from error


def judged(token: str, keys: KeySet, path: str, now: float) -> Verdict:
    """Signature, times, revocation and scope, in the appliance's order."""
    try:
        claims = verify(token, keys.live(KeyUse.MEDIA, now))
        claims.check(path, now, frozenset(keys.revoked_sessions))
    except TokenRefused as refused:
        return Verdict(path, refused)
    return Verdict(path, None)


def _moment(value: Any, now: float) -> str:
    if not isinstance(value, int | float) or not 0 <= value < LATEST_S:
        return f"{value}, no instant"
    at = datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{at}, {_distance(value - now)}"


def _distance(seconds: float) -> str:
    size = abs(seconds)
    for number, (step, name) in enumerate(_STEPS):
        if size >= step:
            whole, rest = divmod(size, step)
            finer = _STEPS[number + 1] if number + 1 < len(_STEPS) else None
            words = f"{whole:.0f} {name}"
            if finer is not None and rest >= finer[0]:
                words += f" {rest // finer[0]:.0f} {finer[1]}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "now"
