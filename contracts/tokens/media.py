"""Any media token: which format it is in, and its claims once its signature holds.

The format is told by its shape: a JWT has two dots, a Common Access Token none. A format's code, and the cryptography behind it, are imported
with the first token of that format, so that a worker starts without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from contracts.keys import PublicKey
from contracts.tokens.claims import MediaClaims

if TYPE_CHECKING:
    from contracts.tokens.signatures import SigningKey


class TokenFormat(Enum):
    """How a media token is written."""

    JWT = "jwt"
    """URI Signing (RFC 9246)."""
    CAT = "cat"
    """Common Access Token (CTA-5007)."""


class Codec(Protocol):
    """What the modules of both formats have."""

    def sign(self, claims: MediaClaims, key: SigningKey, kid: str, alg: str = ...) -> str: ...

    def verify(self, token: str, keys: Mapping[str, PublicKey]) -> MediaClaims: ...

    def shown(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]: ...


def format_of(token: str) -> TokenFormat:
    return TokenFormat.JWT if "." in token else TokenFormat.CAT


def codec_of(format_: TokenFormat) -> Codec:
    if format_ is TokenFormat.JWT:
        from contracts.tokens import jwt

        return jwt
    from contracts.tokens import cat

    return cat


def verify(token: str, keys: Mapping[str, PublicKey]) -> MediaClaims:
    """The claims of a token whose signature holds. Expiry and scope are `MediaClaims.check`'s. Raises TokenRefused."""
    return codec_of(format_of(token)).verify(token, keys)
