"""Tonight's plan: snapshot in, plan out, and nothing else happens (DESIGN §4)."""

from __future__ import annotations

import msgspec

from contracts.plans import AppliancePlan, PlacementExplanation, PlanSummary
from fill_planner.config import PlannerSettings
from fill_planner.snapshot import (
    CatalogueFile,
    HourlySeries,
    PlanningAppliance,
    PlanningSite,
    PlanningSnapshot,
    SiteWindow,
)

__all__ = [
    "CatalogueFile",
    "HourlySeries",
    "Plan",
    "PlannerSettings",
    "PlanningAppliance",
    "PlanningSite",
    "PlanningSnapshot",
    "SiteWindow",
    "make_plan",
]

DEFAULTS = PlannerSettings()


class Plan(msgspec.Struct, frozen=True):
    """One plan per appliance of the snapshot that is not retired, one explanation per file and manifest cluster."""

    summary: PlanSummary
    appliances: tuple[AppliancePlan, ...]
    explanations: tuple[PlacementExplanation, ...]


def make_plan(snapshot: PlanningSnapshot, settings: PlannerSettings = DEFAULTS) -> Plan:
    """The plan for the next window of every site. Pure and deterministic: the same snapshot gives the same plan."""
    raise NotImplementedError("the first floor: only the types stand")
