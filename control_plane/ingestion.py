"""Reports arrive once, twice, late or after a restart; each is counted once.

Laws
- Traffic of a (boot, sequence) is counted at most once: a repetition refreshes health and nothing else.
- A boot that started earlier than the newest known one is late (a spool sent afterwards): its traffic and counters count, its view of
  the present does not.
- Holdings are known when a full list of the newest boot was seen and every sequence since then; until then the full list is asked
  for with each answer. A delta that arrives meanwhile is applied: it is better than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from contracts.reports import ApplianceReport, FileTraffic, NetworkTraffic

LARGEST = 2**53
CLOCK_SKEW_S = 3600.0
MOST_LINES = 10


class Arrival(Enum):
    """What a report is (log word = value)."""

    NEW = "new"
    REPEATED = "repeated"
    LATE = "late"
    """New traffic of an earlier boot."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of an appliance and the last report of it that is stored."""

    boot_id: str
    started_at: float
    sequence: int


@dataclass(frozen=True, slots=True)
class Reported:
    """What is stored of an appliance's reports: every boot, the newest one, and whether its holdings are complete."""

    boots: Mapping[str, Boot] = field(default_factory=dict)
    newest: str = ""
    holdings_known: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """`counts`: traffic and counters are stored; `present`: score, disks, holdings and orders are taken over."""

    arrival: Arrival
    counts: bool
    present: bool
    stored_sequence: int
    want_full_holdings: bool
    after: Reported


def judge(known: Reported, report: ApplianceReport) -> Judgement:
    """What to do with a report, and what is known after it."""
    boot = known.boots.get(report.boot_id)
    if boot is not None and report.sequence <= boot.sequence:
        present = report.boot_id == known.newest
        return Judgement(Arrival.REPEATED, False, False, boot.sequence, present and not known.holdings_known, known)
    boots = {**known.boots, report.boot_id: Boot(report.boot_id, report.started_at, report.sequence)}
    if _is_late(known, report):
        after = Reported(boots, known.newest, known.holdings_known)
        return Judgement(Arrival.LATE, True, False, report.sequence, False, after)
    complete = report.holdings_full or _continues(known, boot, report)
    after = Reported(boots, report.boot_id, complete)
    return Judgement(Arrival.NEW, True, True, report.sequence, not complete, after)


def _is_late(known: Reported, report: ApplianceReport) -> bool:
    if not known.newest or report.boot_id == known.newest:
        return False
    return report.started_at < known.boots[known.newest].started_at


def _continues(known: Reported, boot: Boot | None, report: ApplianceReport) -> bool:
    """True when the holdings were complete and no report was left out since."""
    same = report.boot_id == known.newest and known.holdings_known
    return same and boot is not None and report.sequence == boot.sequence + 1


def wrong_traffic(rows: tuple[FileTraffic | NetworkTraffic, ...], now: float, name: str = "traffic") -> tuple[str, ...]:
    """One line for each row (the first ten) that cannot be true: negative, beyond all measure, or of an hour to come."""
    wrong: list[str] = []
    for number, row in enumerate(rows):
        if not 0 <= row.hour <= now + CLOCK_SKEW_S:
            wrong.append(f"{name}[{number}].hour: {row.hour} is not an hour in the past")
        if not (0 <= row.requests < LARGEST and 0 <= row.served_bytes < LARGEST):
            wrong.append(f"{name}[{number}]: requests and served_bytes must lie between 0 and 2^53")
        if len(wrong) >= MOST_LINES:
            break
    return tuple(wrong)


def wrong_numbers(report: ApplianceReport) -> tuple[str, ...]:
    """One line for each counter of a report (the first ten) that cannot be one."""
    numbers: list[tuple[str, int]] = [
        ("sequence", report.sequence),
        ("client_requests", report.client_requests),
        ("client_bytes", report.client_bytes),
        ("content_misses", report.content_misses),
        ("evictions", report.evictions),
        ("connections", report.connections),
    ]
    for number, disk in enumerate(report.disks):
        numbers += [
            (f"disks[{number}].quota_bytes", disk.quota_bytes),
            (f"disks[{number}].used_bytes", disk.used_bytes),
        ]
    for number, source in enumerate(report.sources):
        numbers += [(f"sources[{number}].requests", source.requests), (f"sources[{number}].bytes", source.bytes)]
    for holding in report.holdings:
        numbers += [
            (f"holdings[{holding.key}]", holding.present_bytes),
            (f"holdings[{holding.key}]", holding.size_bytes),
        ]
    for order in report.orders:
        numbers += [(f"orders[{order.order_id}].bytes_done", order.bytes_done)]
    wrong = [f"{name}: must lie between 0 and 2^53, not {value}" for name, value in numbers if not 0 <= value < LARGEST]
    return tuple(wrong[:MOST_LINES])
