"""The planner's settings: what a byte of disk, a byte of filling and a second copy are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """How the planner weighs. The control plane carries this as the section `planner` of its own configuration."""

    churn_cost: Annotated[
        float,
        Ge(0.0),
        Doc("expected bytes served per day that filling one byte must earn before it is worth fetching"),
    ] = 0.05
    second_copy_share: Annotated[
        float,
        Ge(0.0),
        Le(0.5),
        Doc("least share of a cluster's space kept for second copies of its head, on another failure domain"),
    ] = 0.2
    outage_share: Annotated[
        float,
        Ge(0.0),
        Le(1.0),
        Doc("share of the time an appliance is expected to be away; what a second copy saves"),
    ] = 0.02
    load_share: Annotated[
        float,
        Gt(0.0),
        Le(1.0),
        Doc("share of an appliance's egress that one group's copy may fill at the peak hour before it earns another"),
    ] = 0.05
    escalation_s: Annotated[
        float,
        Ge(0.0),
        Doc("seconds an order waits for a nearer source, beyond that source's own expected end, before the next one"),
    ] = 30.0
    window_share: Annotated[
        float,
        Gt(0.0),
        Le(1.0),
        Doc("share of what the window's rate could carry that is planned; the rest is room for repeats"),
    ] = 0.9
    store_overhead: Annotated[
        float,
        Ge(0.0),
        Le(0.1),
        Doc("share of an appliance's pinnable space left for what extents take beyond their bytes (a page each)"),
    ] = 0.01
    tiers_per_order: Annotated[int, Ge(0), Doc("most tier sources named per order")] = 2
    history_days: Annotated[int, Ge(1), Le(366), Doc("days of traffic the forecast looks back over")] = 28
    new_for_days: Annotated[
        float,
        Ge(0.0),
        Doc("days after publishing in which a file without traffic is given the demand of other new files"),
    ] = 7.0
    release_views: Annotated[
        float,
        Ge(0.0),
        Doc("views a day expected of a new file at a site when nothing comparable was ever seen"),
    ] = 1.0
    campaign_lift: Annotated[
        float,
        Ge(0.0),
        Doc("share by which the usual campaign raises a title's views while it runs; larger ones by their reach"),
    ] = 0.3
