"""What a plan is made from: one immutable picture of sites, appliances, files and traffic.

The control plane takes it from its record; the command line reads it from a JSON file (the types are msgspec Structs).
Units: instants are seconds since the Unix epoch, `hour` is an instant floored to 3600, sizes are bytes, rates bit/s.
"""

from __future__ import annotations

import msgspec

from contracts.catalogue import FileKind, Licence
from contracts.places import Appliance, Site


class CatalogueFile(msgspec.Struct, frozen=True):
    """One published file. Files with one `group` (a rendition and its playlist) are placed together or not at all."""

    key: str
    group: str
    title_id: str
    kind: FileKind
    size_bytes: int
    version: str
    """BLAKE3 of the file in hex."""
    licence: Licence = Licence()
    published_at: float = 0.0


class HourlySeries(msgspec.Struct, frozen=True, array_like=True):
    """Bytes served of one file in each hour it was asked for; both of one length, hours without traffic left out."""

    hours: tuple[int, ...] = ()
    served_bytes: tuple[int, ...] = ()


class SiteWindow(msgspec.Struct, frozen=True):
    """The next fill window of a site as instants, with the caps of the whole site.

    A window that is open now has `opens_at` in the past; what is planned counts from now.
    """

    opens_at: float
    closes_at: float
    rate_bps: int
    volume_bytes: int


class PlanningSite(msgspec.Struct, frozen=True):
    """A site, its next window, and what its clients took per file (hits and misses, whoever served them)."""

    site: Site
    window: SiteWindow
    traffic: dict[str, HourlySeries] = {}
    required: tuple[str, ...] = ()
    """Keys an operator wants there whatever they are worth."""


class PlanningAppliance(msgspec.Struct, frozen=True):
    """An appliance, what it holds now and what the last plan wanted it to hold."""

    appliance: Appliance
    held: dict[str, int] = {}
    """Key → bytes present."""
    pins: tuple[str, ...] = ()
    suspect: bool = False
    """Its heartbeats stopped: it keeps its place in the plan and is nobody's source."""


class PlanningSnapshot(msgspec.Struct, frozen=True):
    """Everything `make_plan` looks at."""

    number: int
    """The number the plan will have."""
    now: float
    sites: tuple[PlanningSite, ...]
    appliances: tuple[PlanningAppliance, ...]
    files: tuple[CatalogueFile, ...]
    origin_name: str
    origin_url: str
    """Where appliances reach the origin over mutual TLS, without a trailing slash."""
