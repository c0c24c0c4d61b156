"""What a plan is made from: one immutable picture of sites, appliances, files and traffic.

The control plane takes it from its record; the command line reads it from a JSON file (the types are msgspec Structs).
Units: instants are seconds since the Unix epoch, `hour` is an instant floored to 3600, sizes are bytes, rates bit/s.
"""

from __future__ import annotations

import msgspec

from contracts.catalogue import Campaign, FileKind, Licence
from contracts.places import Appliance, Site
from contracts.plans import PlanCause


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
    available_from: float | None = None
    genres: tuple[str, ...] = ()
    language: str = "und"
    franchise: str = ""
    campaigns: tuple[Campaign, ...] = ()

    @property
    def shown_from(self) -> float:
        """When players first see it: what the catalogue says, not before its licence; else its publication."""
        said = [at for at in (self.available_from, self.licence.starts_at) if at is not None]
        return max(said) if said else self.published_at


class HourlySeries(msgspec.Struct, frozen=True, array_like=True):
    """Bytes served of one file in each hour it was asked for; both of one length, hours without traffic left out."""

    hours: tuple[int, ...] = ()
    served_bytes: tuple[int, ...] = ()


class SiteWindow(msgspec.Struct, frozen=True):
    """The next fill window of a site as instants, with the caps of the whole site.

    A window that is open now has `opens_at` in the past; what is planned counts from now. `volume_bytes` is what is left of the
    volume: bytes that were fetched in the window already are taken off.
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
    forbidden: tuple[str, ...] = ()
    """Keys an operator wants not there."""
    silent: tuple[int, ...] = ()
    """Hours in which an appliance of the site reported nothing, though it reported before: what they hide is no zero demand."""


class PlanningAppliance(msgspec.Struct, frozen=True):
    """An appliance, what it holds now and what the last plan wanted it to hold."""

    appliance: Appliance
    held: dict[str, int] = {}
    """Key → bytes present."""
    pins: tuple[str, ...] = ()
    suspect: bool = False
    """Its heartbeats stopped: it keeps its place in the plan and is nobody's source."""
    lost: bool = False
    """It has been suspect so long that the plan does without it: it keeps its pins and gets no orders."""


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
    only: tuple[str, ...] = ()
    """Sites that are planned anew; the others are holders of files only. Empty: all are planned."""
    cause: PlanCause = PlanCause.NIGHTLY
