"""Pages by the place of the last title seen, so that titles added meanwhile neither repeat nor hide others. Pure.

Order: newest first, then by id. A page's name is opaque to clients.
"""

from __future__ import annotations

import base64
import binascii

import msgspec


class BadPage(ValueError):
    """The page name was not made here."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """After which title the page begins."""

    published_at: float
    title_id: str


def page_name(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def parse_page(name: str) -> Place | None:
    """None for the first page (an empty name). Raises BadPage."""
    if not name:
        return None
    try:
        raw = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
        return msgspec.json.decode(raw, type=Place)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadPage("page: is not the next_page of an earlier answer") from error
