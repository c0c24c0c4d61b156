"""Settings of recommendation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt
from typing_extensions import Doc

from companions.settings import Http


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Configuration of `lowtide companions run recommendation`."""

    auth_url: Annotated[str, Doc("Base URL of auth, for the keys of access tokens")]
    catalog_url: Annotated[str, Doc("Base URL of the catalog")]
    playback_url: Annotated[str, Doc("Base URL of playback, for positions and popularity")]
    http: Annotated[Http, Doc("Where it listens")] = field(default_factory=Http)
    row_titles: Annotated[int, Ge(1), Doc("Titles in a row")] = 12
    because_rows: Annotated[int, Ge(0), Doc("Rows of the kind: because you watched")] = 2
    shelf_titles: Annotated[int, Ge(1), Doc("Newest titles of a region that rows are made from")] = 1000
    fresh_s: Annotated[float, Ge(0), Doc("How long an answer of catalog or playback counts as fresh")] = 10.0
    stale_s: Annotated[
        float, Ge(0), Doc("How long an old answer is given at once while it is asked anew; an older one is waited for")
    ] = 60.0
    timeout_s: Annotated[float, Gt(0), Doc("How long another service may take to answer")] = 1.0
    pause_s: Annotated[float, Ge(0), Doc("How long a service that failed is not asked again")] = 2.0
    remembered: Annotated[int, Ge(1), Doc("Last known answers kept, by region and by profile")] = 10_000
