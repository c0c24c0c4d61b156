"""How the places of a ranking become pathways that players switch between: positions, best first (docs/content-steering.md).

In `pathway-1` every rendition is fetched from its own first choice, in `pathway-2` from its second, and so on; `origin` is the first place
that is no appliance of ours: an origin, or the commercial CDN that the ladder puts before it. Playback names them in manifests, steering in
the order it answers; both by this rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.world import Choice

ORIGIN_PATHWAY = "origin"
MOST_APPLIANCES = 3


def pathway(number: int) -> str:
    """The name of the pathway of everybody's choice `number` (1 is the best)."""
    return f"pathway-{number}"


def pathway_names(most: int) -> tuple[str, ...]:
    """The pathways of a play whose renditions have up to `most` appliances each, best first, the origin last."""
    return (*map(pathway, range(1, min(most, MOST_APPLIANCES) + 1)), ORIGIN_PATHWAY)


def appliances_of(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The choices that stand in `pathway-1` and following: appliances, no address twice, at most MOST_APPLIANCES."""
    found: dict[str, Choice] = {}
    for choice in choices:
        if choice.appliance_id:
            found.setdefault(choice.url.rstrip("/"), choice)
    return tuple(found.values())[:MOST_APPLIANCES]


def last_of(choices: Sequence[Choice]) -> Choice | None:
    """The choice that stands in `origin`; None when there is none that is no appliance."""
    return next((choice for choice in choices if not choice.appliance_id), None)
