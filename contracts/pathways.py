"""How the places of a ranking become pathways that players switch between (docs/content-steering.md).

In `pathway-1` every rendition is fetched from its own first choice; in each pathway behind it all renditions are fetched from one appliance,
so that nobody who leaves a dead one meets it again in another rendition. `origin` is the first place that is no appliance of ours: an origin,
or the commercial CDN that the ladder puts before it. Playback names them in manifests, steering in the order it answers; both by this rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from contracts.world import Choice

ORIGIN_PATHWAY = "origin"
MOST_APPLIANCES = 3
MOST_PATHWAYS = MOST_APPLIANCES + 1
"""Of appliances."""


def pathway(number: int) -> str:
    """The name of a pathway of appliances (1 is the best)."""
    return f"pathway-{number}"


def pathway_names(most: int) -> tuple[str, ...]:
    """The pathways of a play with `most` pathways of appliances, best first, the origin last."""
    return (*map(pathway, range(1, min(most, MOST_PATHWAYS) + 1)), ORIGIN_PATHWAY)


def pathways_of(groups: Sequence[Sequence[Choice]]) -> tuple[tuple[Choice, ...], ...]:
    """By group of a ranking: who has its `pathway-1`, `pathway-2` …; nobody where a group has no appliance.

    Behind the first choices stand the appliances that are high up for most groups, at most MOST_APPLIANCES; one that is everybody's first
    choice has `pathway-1` already.
    """
    own = [_appliances_of(choices) for choices in groups]
    points: dict[str, int] = defaultdict(int)
    one_of: dict[str, Choice] = {}
    for its in own:
        for place, (url, choice) in enumerate(its.items()):
            points[url] += MOST_APPLIANCES - place
            one_of.setdefault(url, choice)
    firsts = {next(iter(its)) for its in own if its}
    alone = firsts if len(firsts) == 1 else set()
    boxes = [
        one_of[url] for url in sorted(points, key=lambda url: (-points[url], url))[:MOST_APPLIANCES] if url not in alone
    ]
    return tuple((next(iter(its.values())), *boxes) if its else () for its in own)


def _appliances_of(choices: Sequence[Choice]) -> dict[str, Choice]:
    """The appliances of a group by address, best first, at most MOST_APPLIANCES."""
    found: dict[str, Choice] = {}
    for choice in choices:
        if choice.appliance_id and len(found) < MOST_APPLIANCES:
            found.setdefault(choice.url.rstrip("/"), choice)
    return found


def last_of(choices: Sequence[Choice]) -> Choice | None:
    """The choice that stands in `origin`; None when there is none that is no appliance."""
    return next((choice for choice in choices if not choice.appliance_id), None)
