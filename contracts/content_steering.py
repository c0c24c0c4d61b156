"""What `GET /v1/steering/SESSION` answers: one steering manifest for HLS (RFC 8216bis §7.1) and DASH (ETSI TS 103 998)."""

from __future__ import annotations

import msgspec

VERSION = 1
LONGEST_TTL_S = 300
"""A player that heard nothing else asks after so long (RFC 8216bis §7.1, and what players do without a TTL)."""
PATH = "/v1/steering/{session}"
STATE_FIELD = "s"
"""The query field with the signed state of a session."""
DIALECT_FIELD = "d"
DASH_DIALECT = "dash"
"""The query field that DASH manifests add, which says that their players ask: they say nothing at first, and read HOST otherwise."""


class UriReplacement(msgspec.Struct, frozen=True, rename={"host": "HOST"}):
    """`host` takes the place of the host in every address of the base pathway; scheme, port and path stay."""

    host: str


class PathwayClone(
    msgspec.Struct, frozen=True, rename={"base_id": "BASE-ID", "id": "ID", "uri_replacement": "URI-REPLACEMENT"}
):
    """A pathway that the manifest does not have: another one with another host."""

    base_id: str
    id: str
    uri_replacement: UriReplacement


class SteeringManifest(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "version": "VERSION",
        "ttl_s": "TTL",
        "reload_uri": "RELOAD-URI",
        "priority": "PATHWAY-PRIORITY",
        "clones": "PATHWAY-CLONES",
    },
):
    """`priority` is never empty and has no pathway twice; `ttl_s` is when to ask again, at `reload_uri`."""

    ttl_s: int
    reload_uri: str
    priority: tuple[str, ...]
    version: int
    clones: tuple[PathwayClone, ...] = ()
