"""base64url without padding (RFC 4648 §5, RFC 7515 §2), in its one canonical spelling."""

from __future__ import annotations

import base64
import binascii


def from_base64url(text: str) -> bytes:
    """Raises ValueError for padding, other characters, and bits behind the last byte that are not zero."""
    try:
        raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise ValueError(f"not base64url: {error}") from error
    if to_base64url(raw) != text:
        raise ValueError("not base64url in its canonical spelling")
    return raw


def to_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
