"""Explanations: every decision about a file at a manifest cluster as facts and as one English sentence."""

from __future__ import annotations

from contracts.plans import Reason
from fill_planner.config import PlannerSettings
from fill_planner.placement import Placement

_WHY_NOT = {
    Reason.DISK_FULL: "no appliance had the space left: everything placed is worth more per byte",
    Reason.WINDOW_FULL: "it does not fit into what is left of the fill window's time and volume",
    Reason.NOT_LICENSED: "its licence does not cover this site on the day after the window",
    Reason.FORBIDDEN: "an operator wants it nowhere here",
}


def sentence(
    placement: Placement, rank: int, files: int, forecast_bytes: float, model: str, settings: PlannerSettings
) -> str:
    """What was decided, what speaks for it, and where it stands."""
    facts = (
        f"expected to serve {words_of_bytes(forecast_bytes)} tomorrow by {model}, "
        f"{placement.unit.density:.2f} bytes per byte of disk, rank {rank} of {files}"
    )
    if not placement.copies:
        return f"Not placed: {_why_not(placement, settings)} ({facts})."
    where = " and ".join(copy.box_id for copy in placement.copies)
    missing = sum(copy.missing_bytes for copy in placement.copies)
    verb = {Reason.PINNED: "Pinned by an operator at", Reason.KEPT: "Kept at"}.get(placement.reason, "Placed at")
    fetched = f", {words_of_bytes(missing)} to fetch with its group" if missing else ""
    return f"{verb} {where}{fetched}: {facts}."


def _why_not(placement: Placement, settings: PlannerSettings) -> str:
    if placement.reason is Reason.NO_DEMAND and placement.unit.expected_bytes > 0:
        return (
            f"serving {placement.unit.density:.3f} bytes per byte does not earn a fill at cost {settings.churn_cost:g}"
        )
    return _WHY_NOT.get(placement.reason, "nobody is expected to ask for it")


def words_of_bytes(count: float) -> str:
    """A size for people, in powers of 1,000."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")
