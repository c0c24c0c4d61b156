"""Explanations: every decision about a file at a manifest cluster as facts and as one English sentence."""

from __future__ import annotations

from contracts.plans import PlacementExplanation, Reason
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


def lines(one: PlacementExplanation) -> tuple[str, ...]:
    """All of an explanation for people: the sentence, the figures, whom the order may ask, and what became of it."""
    band = ""
    if one.forecast_low_bytes is not None and one.forecast_high_bytes is not None:
        low, high = words_of_bytes(one.forecast_low_bytes), words_of_bytes(one.forecast_high_bytes)
        band = f", four days of five between {low} and {high}"
    where = ", ".join(one.appliances) or "none"
    found = [
        one.sentence,
        f"forecast: {words_of_bytes(one.forecast_bytes)} a day by {one.forecast_model}{band}",
        f"value: {one.value:.2f} bytes served per byte of disk; rank {one.rank} of {one.files}; copies {one.copies}: {where}",
    ]
    if one.forecast_why:
        found.insert(2, f"because: {one.forecast_why}")
    if one.sources:
        found.append(f"sources: {source_words(one)}")
    per_byte = f", {one.served_bytes / one.filled_bytes:.2f} served per byte filled" if one.filled_bytes else ""
    served, filled = words_of_bytes(one.served_bytes), words_of_bytes(one.filled_bytes)
    found.append(f"since plan {one.plan_number}: {served} served, {filled} filled{per_byte}")
    return tuple(found)


def source_words(one: PlacementExplanation) -> str:
    """The ranked sources with their waits."""
    return " → ".join(
        f"{s.kind.value} {s.name}" + (f" after {s.after_s:g} s" if s.after_s else "") for s in one.sources
    )


def words_of_bytes(count: float) -> str:
    """A size for people, in powers of 1,000."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")
