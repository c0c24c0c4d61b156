"""Plans: what each appliance should hold, and the orders that get it there (DESIGN §4)."""

from __future__ import annotations

from enum import Enum

import msgspec


class SourceKind(Enum):
    PEER = "peer"
    """Another appliance of the same site: near, crosses no border. Asked with `only-if-cached`."""
    TIER = "tier"
    """An appliance of another site that holds the file."""
    ORIGIN = "origin"


class RankedSource(msgspec.Struct, frozen=True):
    """Where an order may be filled from: a base URL, to which the path of the key is added.

    A source is not asked before `after_s` from the opening of the window, or from the making of the plan when the window
    was open already.
    """

    kind: SourceKind
    name: str
    url: str
    after_s: float = 0.0


class Reason(Enum):
    """Why the planner did what it did with a file at a site (log word = value)."""

    POPULAR = "popular"
    """Its expected bytes per byte of disk earn its place."""
    SECOND_COPY = "second-copy"
    """The head is kept on two failure domains."""
    PINNED = "pinned"
    KEPT = "kept"
    """Held already and still worth its place."""
    DISK_FULL = "disk-full"
    """Everything placed is worth more per byte; no space was left."""
    WINDOW_FULL = "window-full"
    """It would not fit into tonight's window or volume cap."""
    NOT_LICENSED = "not-licensed"
    FORBIDDEN = "forbidden"
    """An operator wants it nowhere at this site."""
    NO_DEMAND = "no-demand"


class PlanCause(Enum):
    """Why a plan was made (log word = value)."""

    NIGHTLY = "nightly"
    ASKED = "asked"
    """An operator asked for it."""
    APPLIANCE_LOST = "appliance-lost"
    """An appliance of its sites has been suspect too long: made with what is left."""
    DISK_LOST = "disk-lost"
    APPLIANCE_BACK = "appliance-back"
    PREPOSITION = "preposition"
    """Out of cycle: a few orders, beside the plan that stands or in a window of their own."""
    PREPOSITION_OVER = "preposition-over"
    """The plan that stands holds alone again."""
    LICENCE_ENDED = "licence-ended"
    """The plan that stood, without titles whose licence has ended."""


class Order(msgspec.Struct, frozen=True):
    """Fetch one file into one appliance and pin it. Idempotent: the id is made from plan-independent facts."""

    id: str
    key: str
    size_bytes: int
    version: str
    """BLAKE3 of the file in hex."""
    priority: int
    """0 first."""
    sources: tuple[RankedSource, ...]
    reason: Reason
    forecast_bytes: float
    value: float
    """Expected bytes served next day per byte filled."""
    credential: str = ""
    """What the appliance shows to peers and tiers for this order (`contracts.tokens.fills`), as it is handed out; empty in a plan that is not."""


class AppliancePlan(msgspec.Struct, frozen=True):
    """What one appliance should do: `GET /v1/appliance/plan`.

    `pins` are all keys it should hold after tonight (orders included). What is held and not in `pins` may be evicted.
    """

    number: int
    appliance_id: str
    created_at: float
    window_opens_at: float
    window_closes_at: float
    rate_bps: int
    volume_bytes: int
    pins: tuple[str, ...]
    orders: tuple[Order, ...]


class PlacementExplanation(msgspec.Struct, frozen=True):
    """Why one file is or is not at one manifest cluster (`GET /v1/plans/latest/explain?key=&site=`)."""

    key: str
    site_id: str
    manifest_cluster: str
    size_bytes: int
    forecast_bytes: float
    forecast_model: str
    value: float
    rank: int
    """1 is the file with the highest value per byte at this cluster."""
    files: int
    copies: int
    appliances: tuple[str, ...]
    sources: tuple[RankedSource, ...]
    reason: Reason
    sentence: str
    """One English sentence that says the same."""
    plan_number: int = 0
    window_opens_at: float = 0.0
    window_closes_at: float = 0.0
    forecast_low_bytes: float | None = None
    forecast_high_bytes: float | None = None
    """Between these two the forecast's model expects four days of five to lie; None where it says no more than one number."""
    forecast_why: str = ""
    """Why this model speaks for the file, and how wrong each was at the site; empty where the site borrows."""
    served_bytes: int = 0
    filled_bytes: int = 0


class PlanSummary(msgspec.Struct, frozen=True):
    """One plan in figures. Shares are of the expected bytes of the day after the window."""

    number: int
    created_at: float
    appliances: int
    orders: int
    bytes_to_fill: int
    placed_files: int
    unplaced_files: int
    expected_inside_share: float
    cause: PlanCause = PlanCause.NIGHTLY
    sites: tuple[str, ...] = ()
    """The sites that it is made for; empty: all."""

    @property
    def stands(self) -> bool:
        """False for what is told for a while: the plan before it comes back."""
        return self.cause not in (PlanCause.PREPOSITION, PlanCause.PREPOSITION_OVER)

    @property
    def places(self) -> bool:
        """True for what decided over files, and can explain; False for what was composed of plans before."""
        return self.stands and self.cause is not PlanCause.LICENCE_ENDED


class PlanList(msgspec.Struct, frozen=True):
    plans: tuple[PlanSummary, ...]


class Upstreams(msgspec.Struct, frozen=True):
    """Parents for misses, best first, per appliance (`GET /v1/upstreams`). The last is an origin where one is known."""

    number: int
    parents: tuple[RankedSource, ...]
