"""May this member play this, and in which qualities? Pure.

The order of the questions is the order of the answers: whose profile, is the title shown here now, does the plan include
anything of it, is a stream left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.catalogue import FileKind, Rendition, TitleDetails
from contracts.members import AccessClaims, MemberPlan
from contracts.problems import ProblemCode


@dataclass(frozen=True, slots=True)
class Stream:
    """A running session as the limit sees it. Instants in seconds since the epoch."""

    session_id: str
    device_id: str
    title_id: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, in words; `lines` name what stands in the way."""

    code: ProblemCode
    detail: str
    lines: tuple[str, ...] = ()


def plan_of(claims: AccessClaims) -> MemberPlan:
    """The member's plan; the smallest one when the word is not known here."""
    return MemberPlan.named(claims.plan) or MemberPlan.BASIC


def profile_refusal(claims: AccessClaims, profile_id: str) -> Refusal | None:
    if profile_id in claims.profiles:
        return None
    return Refusal(ProblemCode.FORBIDDEN, f"profile {profile_id[:60]!r} is not one of this account")


def title_refusal(details: TitleDetails, region: str, now: float) -> Refusal | None:
    if details.facts.licence.allows(region, now):
        return None
    return Refusal(ProblemCode.NOT_IN_REGION, f"{details.facts.name!r} is not available in {region} now")


def playable(details: TitleDetails, plan: MemberPlan) -> tuple[Rendition, ...] | Refusal:
    """The renditions that the plan's tiers include."""
    kept = tuple(rendition for rendition in details.renditions if rendition.tier in plan.tiers)
    if any(rendition.kind is FileKind.VIDEO for rendition in kept):
        return kept
    return Refusal(
        ProblemCode.NOT_ENTITLED, f"the plan {plan.word} includes none of the qualities of {details.facts.name!r}"
    )


def renewal_plan_refusal(tiers: Sequence[str], plan: MemberPlan) -> Refusal | None:
    """`tiers` are those of the session, which its manifest shows; a plan that has less since then needs a new play."""
    if set(tiers) <= set(plan.tiers):
        return None
    return Refusal(
        ProblemCode.NOT_ENTITLED, f"the plan {plan.word} does not include all that this session plays; play it anew"
    )


def stream_refusal(plan: MemberPlan, running: Sequence[Stream], device_id: str, now: float) -> Refusal | None:
    """`running` are the account's live sessions. A device that starts again takes its own place."""
    others = [stream for stream in running if stream.device_id != device_id]
    if len(others) < plan.streams:
        return None
    word = "device" if plan.streams == 1 else "devices"
    return Refusal(
        ProblemCode.TOO_MANY_STREAMS,
        f"the plan {plan.word} plays on {plan.streams} {word} at a time; stop one of them first",
        tuple(
            f"{s.device_id}: playing {s.title_id}, last heard of {max(0.0, now - s.seen_at):.0f} s ago" for s in others
        ),
    )
